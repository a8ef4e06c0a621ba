"""The `cluster` commands: render what derives from the spec, and run the local twin."""

import signal
from pathlib import Path
from typing import Annotated

import typer

from polyglossa.cluster.local_cluster import LocalCluster, running_local_cluster
from polyglossa.cluster.render import stale, write
from polyglossa.cluster.spec import load_spec
from polyglossa.errors import PolyglossaError, UserError

app = typer.Typer(no_args_is_help=True, help="Render the cluster's manifests, or run its local twin.")

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
    idle_seconds: Annotated[int | None, typer.Option(help="How long an idle node stays; default: the spec's.")] = None,
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


def describe(twin: LocalCluster) -> str:
    """Say how to reach a twin, ready to paste into a shell."""
    exports = "\n".join(f"export {name}={value}" for name, value in twin.environment.items())
    return f"The twin is up: {twin.dashboard}. In another shell:\n{exports}\nCtrl-C ends it and all its nodes."
