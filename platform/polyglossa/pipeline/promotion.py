"""Promotion: an alias moves to a member only if the recipe's gate holds; where aliases point is kept beside the run.

`<root>/promoted.json` maps an alias to the model directory that it names and the evaluation that let it pass. The
endpoint serves what it says: a promoted model stays behind its alias, whatever is trained since.
"""

from typing import Any

from polyglossa.artifact import Artifact, exists, open_artifact, open_storage, read_json, write_json
from polyglossa.errors import ArtifactError, RecipeError
from polyglossa.evaluate.scoring.gate import GateVerdict, check_gate
from polyglossa.lease import held
from polyglossa.pipeline.build import build
from polyglossa.pipeline.find_artifacts import find_artifacts
from polyglossa.recipe import Recipe
from polyglossa.recipe.sections.serve import ServeConfig

_FILE = "promoted.json"


def read_promotions(recipe: Recipe) -> dict[str, dict[str, str]]:
    """Where each promoted alias of a run points: `member`, `model` (directory) and `evaluation` (artifact)."""
    uri = f"{recipe.root}/{_FILE}"
    return dict(read_json(uri)) if exists(uri) else {}


def promote(recipe: Recipe, alias: str, member: str, *, move: bool = True) -> GateVerdict:
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
    current = _summary(known[alias]["evaluation"]) if alias in known else None
    verdict = check_gate(recipe.evaluate.gate, evaluation.read_json("summary.json"), current)
    if verdict.passed and move:
        entry = {"member": member, "model": model.at("model"), "evaluation": evaluation.uri}
        with held(recipe.root, "promoted"):  # another person may move another alias meanwhile
            _write(recipe, {**read_promotions(recipe), alias: entry})
    return verdict


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


def _write(recipe: Recipe, entries: dict[str, dict[str, str]]) -> None:
    uri = f"{recipe.root}/{_FILE}"
    write_json(f"{uri}.part", entries)
    filesystem, path = open_storage(uri)
    filesystem.move(f"{path}.part", path)


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
