"""Run a recipe: every node of its graph in order, each skipped where its artifact is there, each said in one line.

`walk` is the pure part: it takes what runs a group of nodes as an argument, so tests walk the graph without training.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from polyglossa import artifact, progress
from polyglossa.artifact import Artifact, ArtifactKey, Draft
from polyglossa.errors import ArtifactError
from polyglossa.pipelines.graph import Node, build
from polyglossa.pipelines.memory import Peak, watch_memory
from polyglossa.recipe import Profile, Recipe

_SAID_FIGURES = 4
_TOGETHER = ("train", "evaluate")  # stages whose workers take longer to start than a small node to run

RunNodes = Callable[[Sequence[Node], Sequence[Mapping[str, Artifact]], Sequence[Draft]], None]


def run(recipe: Recipe, profile: Profile, *, until: str | None = None) -> dict[str, Artifact]:
    """Make every artifact of a recipe that is not there yet.

    Args:
        recipe: what to make.
        profile: where.
        until: stop after this stage (its nodes and what they need); None makes everything.

    Returns:
        Artifacts by node name.
    """
    return make(recipe, profile, _nodes(recipe, until))


def make(recipe: Recipe, profile: Profile, nodes: Sequence[Node]) -> dict[str, Artifact]:
    """Make the artifacts of some nodes that are not there yet; each node comes after those it reads."""
    root = _absolute(recipe.root)
    log = recipe.logs / f"{datetime.now():%Y%m%d-%H%M%S}.log"
    from polyglossa.pipelines.session import ray_session, terminate_as_interrupt

    started = time.monotonic()
    with terminate_as_interrupt(), progress.console(log), watch_memory() as peak:
        progress.say(f"{recipe.name}: {len(nodes)} artifacts under {root}; details in {log}")
        with ray_session(profile):
            made: list[str] = []

            def watched(group: Sequence[Node], *rest: Any) -> None:
                peak.stretch = group[0].name
                run_nodes(group, *rest, profile=profile)

            artifacts = walk(nodes, root, watched, made=made)
        if made:
            _record(root, time.monotonic() - started, peak, made)
        if "report" in artifacts:
            _show_results(root, artifacts["report"], artifacts.get("serve"))
    return artifacts


def _nodes(recipe: Recipe, until: str | None) -> list[Node]:
    if until == "tune":
        from polyglossa.pipelines.tune.plan import search_nodes

        return search_nodes(recipe)
    graph = build(recipe)
    return graph.until(until) if until else list(graph.nodes.values())


def walk(
    nodes: Sequence[Node], root: str, run_nodes: RunNodes, *, made: list[str] | None = None
) -> dict[str, Artifact]:
    """Produce the nodes' artifacts in order; consecutive training nodes that do not need each other go together.

    Args:
        nodes: in an order in which they can run.
        root: storage root.
        run_nodes: runs one group of nodes of a stage into their drafts.
        made: collects the names of the nodes that were not there before.
    """
    artifacts: dict[str, Artifact] = {}
    for group in groups(nodes):
        inputs = [{role: artifacts[name] for role, name in node.inputs.items()} for node in group]
        keys = [_key(node, roles) for node, roles in zip(group, inputs, strict=True)]
        missing = [index for index, key in enumerate(keys) if artifact.find(root, key) is None]

        def make(
            drafts: Sequence[Draft],
            group: Sequence[Node] = group,
            inputs: Sequence[Mapping[str, Artifact]] = inputs,
            missing: Sequence[int] = missing,
        ) -> None:
            run_nodes([group[i] for i in missing], [inputs[i] for i in missing], drafts)

        for index, done in enumerate(artifact.produce_together(root, keys, make)):
            artifacts[group[index].name] = done
            _say_done(group[index].name, done, reused=index not in missing)
        if made is not None:
            made += [group[index].name for index in missing]
    return artifacts


def groups(nodes: Sequence[Node]) -> Iterator[list[Node]]:
    """Cut the order into groups: one node each, but consecutive independent ones of `_TOGETHER` share their workers."""
    group: list[Node] = []
    for node in nodes:
        names = {member.name for member in group}
        joins = group and node.stage == group[0].stage in _TOGETHER and not names & set(node.inputs.values())
        if group and not joins:
            yield group
            group = []
        group.append(node)
    if group:
        yield group


def run_nodes(
    nodes: Sequence[Node],
    inputs: Sequence[Mapping[str, Artifact]],
    drafts: Sequence[Draft],
    *,
    profile: Profile,
) -> None:
    """Run a group of nodes of one stage, as `walk` wants it; Ray is initialised."""
    module = _module(nodes[0].stage)
    # A search runs whole graphs, so it gets the whole profile.
    placement = profile if nodes[0].stage == "tune" else getattr(profile, nodes[0].stage, profile.corpus)
    if len(nodes) == 1:
        module.run(nodes[0].config, inputs[0], drafts[0], placement)
    else:
        jobs = [(node.config, roles, draft) for node, roles, draft in zip(nodes, inputs, drafts, strict=True)]
        module.run_many(jobs, placement)


def _module(stage: str) -> Any:
    """Stages load when they run: importing torch, ray and mteb for `recipe check` would cost seconds."""
    elsewhere = {
        "serve": "polyglossa.pipelines.serving",
        "tune": "polyglossa.pipelines.tune.run",
        "evaluation_texts": "polyglossa.evaluate.export",
    }
    return import_module(elsewhere.get(stage, f"polyglossa.{stage}.run"))


def _key(node: Node, inputs: Mapping[str, Artifact]) -> ArtifactKey:
    """What shapes a node's artifact; a stage that reads files of the user's says which (`input_fingerprint`)."""
    module = _module(node.stage)
    config = node.config.model_dump(mode="json", by_alias=True)
    fingerprint = module.input_fingerprint(node.config) if hasattr(module, "input_fingerprint") else None
    if fingerprint is not None:
        config["input_files"] = fingerprint
    return ArtifactKey(node.stage, node.name, module.REVISION, config, inputs)


def _say_done(name: str, done: Artifact, *, reused: bool) -> None:
    seconds = done.manifest["wall_seconds"]
    if reused:
        progress.say(f"  {name:<30} unchanged", style="dim")
        return
    progress.say(f"✓ {name:<30} {seconds:7.1f} s  {', '.join(_figures(done.counts, seconds))}")


def _figures(counts: Mapping[str, Any], seconds: float) -> list[str]:
    """Say a stage's first figures, the very first with its rate; nothing is said of what is zero."""
    said: list[str] = []
    for figure, value in counts.items():
        if isinstance(value, int | float) and value:
            amount = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
            rate = f" ({value / seconds:,.0f}/s)" if isinstance(value, int) and seconds and not said else ""
            said.append(f"{amount} {figure.replace('_', ' ')}{rate}")
    return said[:_SAID_FIGURES]


def _record(root: str, seconds: float, peak: Peak, made: Sequence[str]) -> None:
    """Add this invocation to the run's ledger: an interrupted run's cost is the sum of its parts."""
    ledger = f"{root}/invocations.json"
    entries = artifact.read_json(ledger) if artifact.exists(ledger) else []
    entry = {
        "wall_seconds": round(seconds, 1),
        "peak_memory_gib": round(peak.gib, 2),
        "peak_memory_gib_by_stage": peak.by_stretch,
        "made": list(made),
    }
    artifact.write_json(ledger, [*entries, entry])


def _show_results(root: str, report: Artifact, serve: Artifact | None) -> None:
    from polyglossa.report.table import results_table

    entries = artifact.read_json(f"{root}/invocations.json")
    results = {
        "wall_seconds": round(sum(entry["wall_seconds"] for entry in entries), 1),
        "peak_memory_gib": max(entry["peak_memory_gib"] for entry in entries),
        **report.read_json("results.json"),
    }
    artifact.write_json(f"{root}/results.json", results)
    progress.say()
    if serve is not None:
        progress.say(serve.read_json("check.json")["shown"])
        progress.say()
    progress.say(results_table(results))
    progress.say(f"results: {root}/results.json   report: {report.at('report.html')}")


def _absolute(root: str) -> str:
    return root if "://" in root else str(Path(root).absolute())


def describe(recipe: Recipe) -> str:
    """List the graph of a recipe: a node a line, with what it reads."""
    lines = [f"{node.name:<34} ← {', '.join(node.inputs.values()) or '-'}" for node in build(recipe).nodes.values()]
    return "\n".join(lines)


def finished(recipe: Recipe) -> dict[str, Artifact]:
    """Find the artifacts of a recipe that were made; a node whose inputs are not there is left out."""
    artifacts: dict[str, Artifact] = {}
    for node in build(recipe).nodes.values():
        if all(name in artifacts for name in node.inputs.values()):
            inputs = {role: artifacts[name] for role, name in node.inputs.items()}
            found = artifact.find(_absolute(recipe.root), _key(node, inputs))
            if found is not None:
                artifacts[node.name] = found
    return artifacts


def served_models(recipe: Recipe) -> dict[str, str]:
    """Model directory of each member that the recipe serves, in the recipe's order.

    Raises:
        ArtifactError: a member is not trained yet.
    """
    there = finished(recipe)
    roles = build(recipe).nodes["serve"].inputs
    models = {role.removeprefix("model:"): node for role, node in roles.items() if role.startswith("model:")}
    missing = [member for member, node in models.items() if node not in there]
    if missing:
        raise ArtifactError(f"{recipe.name}: {', '.join(missing)} not trained yet; run `polyglossa run RECIPE` first.")
    return {member: there[node].at("model") for member, node in models.items()}
