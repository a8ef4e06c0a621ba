"""The `cluster` commands: render what derives from the spec, run the local twin, check a live cluster."""

import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from polyglossa.cluster.local_cluster import LocalCluster, running_local_cluster
from polyglossa.cluster.render import stale, write
from polyglossa.cluster.spec import load_spec
from polyglossa.errors import PolyglossaError, UserError
from polyglossa.recipe import load_profile

app = typer.Typer(no_args_is_help=True, help="Render the cluster's manifests, run its local twin, or check a live one.")

Folder = Annotated[Path, typer.Option("--folder", help="Folder that holds spec.yaml.")]


@app.command("render")
def render(
    folder: Folder = Path("cluster"),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail where a file is stale.")] = False,
) -> None:
    """Render manifests and VM files from the spec."""
    if not check:
        typer.echo(f"{len(write(folder))} files rendered into {folder}")
    elif found := stale(folder):
        raise PolyglossaError(f"{folder}: stale, run `make manifests`: {', '.join(found)}")


@app.command("up")
def up(
    folder: Folder = Path("cluster"),
    local: Annotated[bool, typer.Option("--local", help="Start the twin on this machine.")] = False,
    idle_seconds: Annotated[
        int | None, typer.Option(min=1, help="How long an idle node stays; default: the spec's.")
    ] = None,
) -> None:
    """Start the local twin and keep it until Ctrl-C."""
    if not local:
        raise UserError(
            "cluster up starts the local twin alone: add --local. Real ones start with "
            "`ray up cluster/ray-up/aws.yaml` or `kubectl apply -f cluster/kuberay/`; see cluster/README.md."
        )
    with running_local_cluster(load_spec(folder / "spec.yaml"), idle_seconds=idle_seconds) as twin:
        typer.echo(describe(twin))
        stops = {signal.SIGINT, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, stops)
        signal.sigwait(stops)


@app.command("check")
def check(
    folder: Folder = Path("cluster"),
    profile: Annotated[
        Path | None,
        typer.Option(help="Profile whose demands the groups must meet; default: the spec's `jobs.profile`."),
    ] = None,
    storage: Annotated[str | None, typer.Option(help="Storage root of runs; default: the spec's.")] = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Dashboard of the cluster; default: RAY_ADDRESS, or the job's own."),
    ] = None,
    kubeconfig: Annotated[
        str | None, typer.Option(metavar="FILE", help="Reach the dashboard and the token through Kubernetes.")
    ] = None,
    service: Annotated[str | None, typer.Option(help="The head's Kubernetes service; default: NAME-head-svc.")] = None,
    wait_seconds: Annotated[float, typer.Option(min=0, help="How long a group may take to bring a node.")] = 600,
    start_nodes: Annotated[
        bool, typer.Option(help="Ask groups that have no node for one; without it only what runs is looked at.")
    ] = True,
) -> None:
    """Check a live cluster: versions, images, groups, storage, clocks, GPUs, shared memory, all-reduce, tokens."""
    from polyglossa.cluster.check.remote import forwarded, submit_check
    from polyglossa.cluster.check.run import check as check_cluster
    from polyglossa.cluster.check.table import table

    spec = load_spec(folder / "spec.yaml")
    placed = profile or folder.parent / spec.jobs.profile
    demands = load_profile(placed)
    root = storage or spec.storage.root
    options = ["--storage", root, "--wait-seconds", str(wait_seconds), *([] if start_nodes else ["--no-start-nodes"])]
    if kubeconfig is not None:
        with forwarded(spec, kubeconfig, service) as dashboard:
            raise typer.Exit(submit_check(dashboard, folder / "spec.yaml", placed, options))
    if address is not None:
        raise typer.Exit(submit_check(address, folder / "spec.yaml", placed, options))
    if not os.environ.get("RAY_ADDRESS"):  # a submitted job has it
        raise UserError("cluster check: give --address URL, --kubeconfig FILE, or set RAY_ADDRESS.")
    findings = check_cluster(spec, demands, root, wait_seconds=wait_seconds, starts=start_nodes)
    typer.echo(table(findings))
    wrong = sum(not finding.good for finding in findings)
    if wrong:
        raise PolyglossaError(f"{wrong} of {len(findings)} checks failed")
    typer.echo(f"{len(findings)} checks, all well.")


def describe(twin: LocalCluster) -> str:
    """Say how to reach a twin, ready to paste into a shell."""
    exports = "\n".join(f"export {name}={value}" for name, value in twin.environment.items())
    return f"The twin is up: {twin.dashboard}. In another shell:\n{exports}\nCtrl-C ends it and all its nodes."
