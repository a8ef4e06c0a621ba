"""Promotion: an alias moves to a member only if the recipe's gate holds; where aliases point is kept beside the run.

`<root>/promoted.json` maps an alias to the model directory that it names, the evaluation that let it pass, and the two
of the model before it. The endpoint serves what it says: a promoted model stays behind its alias, whatever is trained
since.
"""

from collections.abc import Mapping
from typing import Any

from polyglossa.artifact import Artifact, exists, open_artifact, place_json, read_json
from polyglossa.errors import ArtifactError, RecipeError
from polyglossa.evaluate.scoring.gate import GateOutcome, check_gate
from polyglossa.lease import held
from polyglossa.pipeline.build import build
from polyglossa.pipeline.find_artifacts import find_artifacts
from polyglossa.recipe import Recipe
from polyglossa.recipe.sections.own import PreviousModel
from polyglossa.recipe.sections.serve import ServeConfig

_FILE = "promoted.json"


def read_promotions(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Where each promoted alias of a run points: `member`, `model` (directory) and `evaluation` (artifact)."""
    uri = f"{recipe.root}/{_FILE}"
    return dict(read_json(uri)) if exists(uri) else {}


def previous_model(recipe: Recipe) -> PreviousModel | None:
    """Find the model that an alias of the first member named before this recipe's own took it over, if it did.

    A run that is repeated finds the same one: a promotion keeps what it took the place of.
    """
    if recipe.own is None:
        return None
    member = recipe.members[0]
    alias = next((name for name, target in recipe.serve.aliases.items() if target == member.name), None)
    entry = read_promotions(recipe).get(alias) if alias is not None else None
    if entry is None:
        return None
    trained = find_artifacts(recipe).get(build(recipe).nodes["own"].inputs["model"])
    if trained is not None and trained.at("model") == entry["model"]:
        entry = entry.get("before")
    start = member.backbone.model if member.backbone is not None else None
    if entry is None or entry["model"] == start:  # it is held against that one anyway
        return None
    return PreviousModel(model=entry["model"], evaluation=entry["evaluation"])


def promote(recipe: Recipe, alias: str, member: str, *, move: bool = True) -> GateOutcome:
    """Hold a member's evaluation against the gate, and move the alias if it passes.

    Args:
        recipe: the family, run up to its evaluations.
        alias: what moves.
        member: where to.
        move: whether it does; if not, the gate is only checked.

    Raises:
        RecipeError: the recipe has no such member.
        ArtifactError: the member was not evaluated yet.
    """
    if member not in {one.name for one in recipe.members}:
        raise RecipeError(
            f"{member}: not a member of {recipe.name}; it has {', '.join(m.name for m in recipe.members)}."
        )
    evaluation, model = _find_evaluation(recipe, member)
    known = read_promotions(recipe)
    start = _start(recipe, member)
    current = _current(recipe, member, known[alias], start) if alias in known else None
    gains = {} if start is None or recipe.own is None else dict.fromkeys(recipe.own.tasks, start)
    verdict = check_gate(recipe.evaluate.gate, evaluation.read_json("summary.json"), current, gains)
    if verdict.passed and move and known.get(alias, {}).get("model") != model.at("model"):
        before = {key: value for key, value in known.get(alias, {}).items() if key in ("model", "evaluation")}
        entry = {"member": member, "model": model.at("model"), "evaluation": evaluation.uri}
        with held(recipe.root, "promoted"):  # another person may move another alias meanwhile
            _write(recipe, {**read_promotions(recipe), alias: entry | ({"before": before} if before else {})})
    return verdict


def _start(recipe: Recipe, member: str) -> dict[str, Any] | None:
    """Summary of the model that a member started from, where it was evaluated."""
    found = find_artifacts(recipe).get(f"evaluate.{member}.untrained")
    return None if found is None else dict(found.read_json("summary.json"))


def _current(recipe: Recipe, member: str, entry: Mapping[str, Any], start: dict[str, Any] | None) -> dict[str, Any]:
    """Summary of the model that an alias names now: on today's rows, where the member started from that very model."""
    backbone = recipe.member(member).backbone
    if start is None or backbone is None or backbone.model != entry["model"]:
        return _summary(entry["evaluation"])
    evaluate = recipe.evaluate
    if evaluate.untrained == "all" or not (evaluate.tasks or evaluate.benchmarks):
        return start
    before = _summary(entry["evaluation"])  # has the tasks that an untrained model is not judged by
    return {**before, **start, "tasks": {**before["tasks"], **start["tasks"]}}


def _find_evaluation(recipe: Recipe, member: str) -> tuple[Artifact, Artifact]:
    there, name = find_artifacts(recipe), f"evaluate.{member}"
    if name not in there:
        raise ArtifactError(f"{name} is not made yet; run `polyglossa run RECIPE --until evaluate` first.")
    return there[name], there[build(recipe).nodes[name].inputs["model"]]


def _summary(evaluation: str) -> dict[str, Any]:
    """Summary of the evaluation that an alias passed with.

    Raises:
        ArtifactError: it is no longer there.
    """
    return dict(open_artifact(evaluation).read_json("summary.json"))


def _write(recipe: Recipe, entries: dict[str, dict[str, Any]]) -> None:
    place_json(f"{recipe.root}/{_FILE}", entries)


def with_promotions(recipe: Recipe, models: dict[str, str]) -> tuple[ServeConfig, dict[str, str]]:
    """Put promoted aliases into what is served.

    Args:
        recipe: the family.
        models: model directory by member.

    Returns:
        The `serve` section with aliases of members that are served anyway, and the models, with those behind other
        aliases under the alias's own name.
    """
    aliases, served = dict(recipe.serve.aliases), dict(models)
    for alias, entry in read_promotions(recipe).items():
        member = next((name for name, path in models.items() if path == entry["model"]), None)
        aliases.pop(alias, None)
        if member is not None:
            aliases[alias] = member
        else:
            served[alias] = entry["model"]
    return ServeConfig.model_validate({**recipe.serve.model_dump(), "aliases": aliases}), served
