"""What trials of students stand on, made out of a recipe: parent, data, teacher store, and what judges them."""

import json

from polyglossa.artifact import Artifact
from polyglossa.errors import RecipeError
from polyglossa.evaluate.tables import located
from polyglossa.folders import absolute
from polyglossa.pipelines.family import build
from polyglossa.pipelines.students import Ground
from polyglossa.recipe import Profile, Recipe
from polyglossa.recipe.evaluate import RetrievalTask
from polyglossa.recipe.members import Member


def taught_member(recipe: Recipe, name: str | None) -> Member:
    """Find a pruned member with one teacher; None takes the first.

    Raises:
        RecipeError: there is none, or none of that name.
    """
    pruned = [member for member in recipe.members if member.prune is not None and len(member.teachers) == 1]
    for member in pruned:
        if name in (None, member.name):
            return member
    names = ", ".join(member.name for member in pruned) or "none"
    raise RecipeError(f"{name or recipe.name}: is no pruned member with one teacher; there is {names}.")


def prepare(
    recipe: Recipe, profile: Profile, member: Member, *, queries: int | None, widest: int | None = None
) -> tuple[Ground, dict[str, Artifact]]:
    """Make what is not there yet of the nodes that a member's trials read.

    Args:
        recipe: names the family.
        profile: where.
        member: whose parent, data and teacher are taken.
        queries: most queries of a held-out set; None means all.
        widest: hidden size of the widest student, whom the teacher store must serve; None takes the member's.

    Returns:
        The ground, and the models beside it: `untrained`, `parent` and `teacher`.
    """
    from polyglossa.pipelines.run import make

    recipe = _with_store(recipe, member.name, widest)
    graph = build(recipe)
    train = graph.nodes[f"train.{member.name}.{member.stages[-1]}"].inputs
    prune = graph.nodes[f"prune.{member.name}"].inputs
    teacher = graph.nodes[train["teacher"]].inputs["model"]
    untrained = next(name for name, node in graph.nodes.items() if node.stage == "backbone")
    wanted = [train["pack"], train["teacher"], *prune.values(), "corpus", untrained]
    made = make(recipe, profile, graph.needed_for(wanted))
    ground = Ground(
        corpus_uri=made["corpus"].uri,
        parent_uri=made[prune["model"]].uri,
        calibration_uri=made[prune["pack"]].uri,
        pack_uri=made[train["pack"]].uri,
        teacher_uri=made[train["teacher"]].uri,
        heldout=recipe.evaluate.heldout,
        searches=tuple(_placed(task, recipe.evaluate.data) for task in _searches(recipe)),
        queries=queries,
    )
    models = {"untrained": made[untrained], "parent": made[prune["model"]], "teacher": made[teacher]}
    return ground, models


def _with_store(recipe: Recipe, name: str, widest: int | None) -> Recipe:
    """The same recipe with the member's teacher stored, for students of up to a width."""
    plain = recipe.model_dump(by_alias=True, mode="json")
    for member in plain["members"]:
        if member["name"] == name:
            member["teacher_states"] = "stored"
            member["prune"]["hidden"] = widest or member["prune"]["hidden"]
    return Recipe.model_validate_json(json.dumps(plain))


def _searches(recipe: Recipe) -> list[RetrievalTask]:
    return [task for task in recipe.evaluate.local if isinstance(task, RetrievalTask)]


def _placed(task: RetrievalTask, data: str) -> RetrievalTask:
    return RetrievalTask.model_validate({**task.model_dump(), "path": absolute(located(data, task.path))})
