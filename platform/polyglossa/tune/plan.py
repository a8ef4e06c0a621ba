"""Plan a search in a recipe's graph: what its trials share, and what each makes for itself. Pure.

A trial is the recipe with some values overridden, so its graph is the recipe's; nodes that no value of the space
touches are made once, before the search. Teacher stores are as wide as the widest student of the space, so students of
any width read the same one: a reader takes the first coordinates, which are the same in a narrower store.
"""

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from polyglossa.errors import RecipeError
from polyglossa.pipeline.build import build
from polyglossa.pipeline.graph import Node
from polyglossa.recipe import Recipe
from polyglossa.recipe.sections.teacher import TeacherConfig
from polyglossa.recipe.trial import SearchConfig, plain, searched_member, trial_recipe

TEACHERS = "distill"
Widths = Mapping[str, int | None]


@dataclass(frozen=True)
class TrialGraph:
    """What a trial makes: nodes up to its student, and the student itself."""

    nodes: Sequence[Node]
    student: Node


def plan_nodes(recipe: Recipe) -> list[Node]:
    """List the nodes of `--until tune`: what all trials share, and the search, which reads it.

    Raises:
        RecipeError: the recipe has no `tune` section.
    """
    if recipe.tune is None:
        raise RecipeError("--until tune: this recipe has no section `tune` that says what to search.")
    own = trial_graph(recipe, recipe, widths := teacher_widths(recipe))
    probes = [trial_graph(recipe, probe, widths) for probe in probe_recipes(recipe)]
    signatures = [set(_signatures(probe.nodes).values()) for probe in probes]
    shared = {name for name, shape in _signatures(own.nodes).items() if all(shape in found for found in signatures)}
    data = plain(recipe)
    storage = data.pop("storage", recipe.storage)
    config = SearchConfig(tune=recipe.tune, recipe=data, storage=storage)
    nodes = [node for node in own.nodes if node.name in shared]
    return [*nodes, Node("tune", "tune", config, {node.name: node.name for node in nodes})]


def probe_recipes(recipe: Recipe) -> list[Recipe]:
    """One recipe for every end or choice of every dimension of the space, or for every variant."""
    assert recipe.tune is not None
    return [trial_recipe(recipe, values) for values in recipe.tune.probes]


def teacher_widths(recipe: Recipe) -> dict[str, int | None]:
    """Width that each teacher store needs for every student of the space; None is the teacher's own."""
    found: dict[str, list[int | None]] = {}
    for probe in [recipe, *probe_recipes(recipe)]:
        for node in build(probe).nodes.values():
            if isinstance(node.config, TeacherConfig):
                found.setdefault(node.name, []).append(node.config.width)
    known = {name: [width for width in widths if width is not None] for name, widths in found.items()}
    return {name: max(known[name]) if len(known[name]) == len(widths) else None for name, widths in found.items()}


def trial_graph(recipe: Recipe, trial: Recipe, widths: Widths) -> TrialGraph:
    """Lay out what a trial makes.

    Args:
        recipe: what is searched.
        trial: its recipe with a trial's values.
        widths: of teacher stores, by node.

    Raises:
        RecipeError: the values make the student equal to another member's model.
    """
    member = trial.member(searched_member(recipe))
    graph = build(trial)
    name = f"train.{member.name}.{member.stages[-1]}"
    if name not in graph.nodes:
        raise RecipeError(f"tune: {member.name!r} would be the same model as another member.")
    nodes = [_with_widths(node, widths) for node in graph.needed_for([name])]
    return TrialGraph(nodes[:-1], nodes[-1])


def _with_widths(node: Node, widths: Widths) -> Node:
    if isinstance(node.config, TeacherConfig) and node.name in widths:
        wide = {**node.config.model_dump(), "width": widths[node.name]}
        return replace(node, config=TeacherConfig.model_validate(wide))
    return node


def retrained_stages(nodes: Sequence[Node], shared: Sequence[str]) -> list[str]:
    """Name the training stages, other than the student's, that a trial would run anew."""
    return [node.name for node in nodes if node.stage == "train" and node.name not in shared]


def rung_steps(first: int, factor: int, total: int) -> tuple[int, ...]:
    """Say after how many steps a trial reports, its last step left out."""
    step, rungs = first, list[int]()
    while step < total:
        rungs.append(step)
        step *= factor
    return tuple(rungs)


def _signatures(nodes: Sequence[Node]) -> dict[str, str]:
    """What shapes each node, its inputs' shapes included."""
    shapes: dict[str, str] = {}
    for node in nodes:
        inputs = sorted((role, shapes[name]) for role, name in node.inputs.items())
        shapes[node.name] = repr((node.stage, node.config, inputs))
    return shapes


def root_of(uri: str) -> str:
    """Storage root of an artifact's address."""
    return uri.rpartition("/artifacts/")[0]


def folder_of(uri: str) -> str:
    """Where the search that makes an artifact keeps its journal and trials."""
    return posixpath.join(root_of(uri), "tune", posixpath.basename(uri))
