"""Make the artifacts of nodes in this process, one after another; what is there is skipped, a line is printed for each.

`execute` walks a graph here; `executor` hands the same groups of nodes to tasks of the cluster. A test hands in a
registry of toys and executes a graph without training.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from rich.markup import escape

from polyglossa import artifact
from polyglossa.artifact import Artifact, ArtifactKey
from polyglossa.lease import Claims
from polyglossa.pipeline.concurrent.node_task import make_group
from polyglossa.pipeline.graph import Node
from polyglossa.pipeline.stages import STAGES, Stage, find_stage_of
from polyglossa.recipe import Profile
from polyglossa.runtime import console

_SAID_FIGURES = 4


def execute(
    nodes: Sequence[Node],
    root: str,
    profile: Profile,
    *,
    stages: Mapping[str, Stage] = STAGES,
) -> dict[str, Artifact]:
    """Produce the nodes' artifacts in order; consecutive training nodes that do not need each other go together.

    Args:
        nodes: in an order in which they can run.
        root: storage root.
        profile: placement of the stages; Ray is initialised where they use it.
        stages: the registry that the nodes' stages are looked up in.
    """
    artifacts: dict[str, Artifact] = {}
    with Claims(root) as claims:
        for group in worker_groups(nodes, stages):
            inputs = [{role: artifacts[name] for role, name in node.inputs.items()} for node in group]
            keys = [key_of(node, roles) for node, roles in zip(group, inputs, strict=True)]
            leases = sorted(key.lease for key in keys if artifact.find_finished(root, key) is None)
            for lease in leases:
                claims.wait(lease, partial(_say_waiting, lease))
            missing = [index for index, key in enumerate(keys) if artifact.find_finished(root, key) is None]
            if missing:
                make_group(
                    [group[i] for i in missing], [inputs[i] for i in missing], [keys[i] for i in missing],
                    root, profile, stages,
                )  # fmt: skip
            for lease in leases:
                claims.leave(lease)
            for index, (node, key) in enumerate(zip(group, keys, strict=True)):
                artifacts[node.name] = artifact.open_artifact(key.uri(root))
                say_done(node.name, artifacts[node.name], reused=index not in missing)
    return artifacts


def _say_waiting(lease: str, holder: str) -> None:
    console.say_once(f"  waiting for {lease}: {holder} makes it")


def worker_groups(nodes: Sequence[Node], stages: Mapping[str, Stage] = STAGES) -> Iterator[list[Node]]:
    """Cut the order into groups; consecutive independent nodes of a stage that shares workers go together."""
    group: list[Node] = []
    for node in nodes:
        names = {member.name for member in group}
        same = group and node.stage == group[0].stage and find_stage_of(node, stages).shares_workers
        joins = same and not names & set(node.inputs.values())
        if group and not joins:
            yield group
            group = []
        group.append(node)
    if group:
        yield group


def key_of(node: Node, inputs: Mapping[str, Artifact]) -> ArtifactKey:
    """What shapes a node's artifact; a stage that reads files of the user's says which (`input_fingerprint`)."""
    module = find_stage_of(node).load()
    config = node.config.model_dump(mode="json", by_alias=True)
    fingerprint = module.input_fingerprint(node.config) if hasattr(module, "input_fingerprint") else None
    if fingerprint is not None:
        config["input_files"] = fingerprint
    return ArtifactKey(node.stage, node.name, module.REVISION, config, inputs)


def say_done(name: str, done: Artifact, *, reused: bool) -> None:
    """Print a node's line."""
    seconds = done.manifest["wall_seconds"]
    if reused:
        console.say(f"  {name:<30} unchanged", style="dim")
        return
    computed = done.manifest.get("precision")
    figures = [*_figures(done.counts, seconds), *([f"in {computed['dtype']}"] if computed else [])]
    console.say(f"✓ {name:<30} {seconds:7.1f} s  {', '.join(figures)}")
    if done.unfinished is not None:
        console.say(escape(f"  {name}: {done.unfinished}; the same command tries again"), style="yellow")


def _figures(counts: Mapping[str, Any], seconds: float) -> list[str]:
    """Say a stage's first figures, the very first with its rate from one a second; nothing of what is zero."""
    said: list[str] = []
    for figure, value in counts.items():
        if isinstance(value, int | float) and value:
            amount = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
            counted = isinstance(value, int) and not said and value >= seconds > 0
            rate = f" ({value / seconds:,.0f}/s)" if counted else ""
            said.append(f"{amount} {figure.replace('_', ' ')}{rate}")
    return said[:_SAID_FIGURES]
