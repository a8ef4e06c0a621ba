"""Which shape a student should have under a budget: candidates are ranked after a short distillation of each.

Importance alone ranks them wrongly (orders flip once students are trained), so every candidate is cut, distilled for a
few steps and judged on held-out retrieval; trials run in parallel, one Ray task each.
"""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from polyglossa import artifact, progress
from polyglossa.pipelines.family import build, stage_of
from polyglossa.pipelines.ground import prepare, taught_member
from polyglossa.pipelines.prune_shapes import Budget, candidates, milliseconds, within
from polyglossa.pipelines.run import make
from polyglossa.pipelines.students import Ground, Outcome, Student, try_student
from polyglossa.recipe import Profile, Recipe, StagePlacement
from polyglossa.recipe.backbone import Shape
from polyglossa.recipe.members import Member
from polyglossa.recipe.prune import PruneStage

_QUERIES = 3000


@dataclass(frozen=True)
class Trial:
    """A candidate and what became of it."""

    shape: Shape
    cost: float
    """Parameters, or milliseconds a text."""
    outcome: Outcome

    @property
    def score(self) -> float:
        """Mean over the held-out sets."""
        return statistics.fmean(self.outcome.scores.values())


def search(
    recipe: Recipe, profile: Profile, *, budget: Budget, member: str | None, trials: int, steps: int
) -> list[Trial]:
    """Rank shapes for a pruned member; what the trials need of the recipe is made first.

    Args:
        recipe: names the parent, the teacher, the stage and the data.
        profile: where.
        budget: what a student may cost.
        member: the pruned member whose shape is searched; None takes the first.
        trials: candidates that are tried.
        steps: training steps of each.

    Returns:
        Trials, the best first.

    Raises:
        RecipeError: the recipe has no such member, or no shape fits the budget.
    """
    chosen = taught_member(recipe, member)
    parent, vocabulary = _parent(recipe, profile, chosen)
    torch.set_num_threads(1)
    shapes = candidates(parent)
    if budget.parameters is not None:
        found = within(shapes, lambda shape: shape.parameters(vocabulary), budget.parameters, trials)
    else:
        assert budget.milliseconds is not None
        found = within(shapes, milliseconds, budget.milliseconds, trials)
    widest = max(shape.hidden for shape, _ in found)
    ground, _ = prepare(recipe, profile, chosen, queries=_QUERIES, widest=widest)
    students = [_student(recipe, chosen, shape, steps) for shape, _ in found]
    outcomes = _in_parallel(students, ground, profile, recipe.logs / "prune-search.log")
    made = [Trial(shape, cost, outcome) for (shape, cost), outcome in zip(found, outcomes, strict=True)]
    ranked = sorted(made, key=lambda trial: -trial.score)
    artifact.write_json(f"{recipe.root}/prune_search.json", [_plain(trial) for trial in ranked])
    return ranked


def table(trials: Sequence[Trial]) -> str:
    """Show trials as text, the best first, and the recipe lines of the best."""
    names = list(trials[0].outcome.scores)
    rows = [("rank", "hidden", "mlp", "layers", "parameters", "cost", *names, "before")]
    rows += [
        (
            str(rank),
            *(str(value) for value in (trial.shape.hidden, trial.shape.mlp, trial.shape.layers)),
            f"{trial.outcome.parameters:,}",
            f"{trial.cost:,.4g}",
            *(f"{trial.outcome.scores[name]:.4f}" for name in names),
            f"{statistics.fmean(trial.outcome.start_scores.values()):.4f}",
        )
        for rank, trial in enumerate(trials, start=1)
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    best = trials[0].shape
    return "\n".join([*lines, "", f"prune: {{hidden: {best.hidden}, mlp: {best.mlp}, layers: {best.layers}}}"])


def _parent(recipe: Recipe, profile: Profile, member: Member) -> tuple[Shape, int]:
    """Shape of the model that a member is cut out of, and rows of the member's table.

    A model by name tells its shape only once it is there.
    """
    assert member.prune is not None
    name = member.prune.from_.partition("@")[0]
    backbone, shape = recipe.member(name).backbone, recipe.shapes()[name]
    own = member.prune.vocabulary.tokens if member.prune.vocabulary is not None else None
    rows = own or (backbone.tokenizer.vocabulary if backbone is not None and backbone.tokenizer is not None else None)
    if shape is not None and rows is not None:
        return shape, rows
    graph = build(recipe)
    model = graph.nodes[f"prune.{member.name}"].inputs["model"]
    config = make(recipe, profile, graph.needed_for([model]))[model].read_json("model", "config.json")
    found = Shape(
        hidden=config["hidden_size"],
        mlp=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        kv_heads=config["num_key_value_heads"],
        head_dim=config["head_dim"],
    )
    return found, own or int(config["vocab_size"])


def _student(recipe: Recipe, member: Member, shape: Shape, steps: int) -> Student:
    assert member.prune is not None
    stage = stage_of(member, recipe.training[member.stages[-1]])
    plain = {**PruneStage.of(member.prune).model_dump(), **shape.model_dump(include={"hidden", "mlp", "layers"})}
    short = type(stage).model_validate({**stage.model_dump(), "steps": steps})
    return Student(PruneStage.model_validate(plain), short, stage.objective.distillation_weight)


def _in_parallel(students: Sequence[Student], ground: Ground, profile: Profile, log: Path) -> list[Outcome]:
    from polyglossa.engine.nodes import device_facts_of
    from polyglossa.pipelines.session import parallel, ray_session

    outcomes: dict[int, Outcome] = {}
    threads = profile.train.threads
    with (
        progress.console(log),
        ray_session(profile),
        progress.track("prune search", total=len(students), unit="students") as bar,
    ):
        ground = replace(ground, beside=tuple(device_facts_of(StagePlacement(cpus=threads))))
        for index, outcome in parallel(try_student, [(one, ground, threads) for one in students], cpus=threads):
            outcomes[index] = outcome
            bar.advance()
            bar.note(f"best {max(statistics.fmean(one.scores.values()) for one in outcomes.values()):.4f}")
    return [outcomes[index] for index in range(len(students))]


def _plain(trial: Trial) -> dict[str, Any]:
    return {"shape": trial.shape.model_dump(), "cost": trial.cost, "score": trial.score, **asdict(trial.outcome)}
