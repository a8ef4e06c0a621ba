"""Which shape a student should have under a budget: a search over recipes whose trials are the candidate shapes.

Importance alone ranks them wrongly (orders flip once students are trained), so every candidate is cut, distilled for a
few steps and judged by held-out retrieval, as a trial of `tune`: the same graph, stages, training and journal. So an
interrupted search goes on where it was, and one that is finished is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from polyglossa import artifact
from polyglossa.pipeline.build import build
from polyglossa.pipeline.run import make
from polyglossa.recipe import Profile, Recipe
from polyglossa.recipe.sections.backbone import Shape
from polyglossa.recipe.sections.members import Member
from polyglossa.recipe.shortened import listed_search, shortened, taught_member
from polyglossa.tune.budget import Budget
from polyglossa.tune.plan import plan_nodes
from polyglossa.tune.shape_candidates import candidates, choose_within, milliseconds_once

_QUERIES = 3000


@dataclass(frozen=True)
class Candidate:
    """A shape and what became of it."""

    shape: Shape
    cost: float
    """Parameters, or milliseconds a text."""
    trial: Mapping[str, Any]
    """As in `trials.json` of a search."""

    @property
    def report(self) -> Mapping[str, Any]:
        """Its last report; empty where the trial failed."""
        return self.trial["rungs"][-1] if self.trial["state"] == "finished" else {}


def search(
    recipe: Recipe, profile: Profile, *, budget: Budget, member: str | None, trials: int, steps: int
) -> list[Candidate]:
    """Rank shapes for a pruned member; what the trials need of the recipe is made first.

    Args:
        recipe: names the parent, the teacher, the stage and the data.
        profile: where; its `tune` says how many trials run at a time.
        budget: what a student may cost.
        member: the pruned member whose shape is searched; None takes the first that has a teacher.
        trials: candidates that are tried.
        steps: training steps of each.

    Returns:
        Candidates, the best first, those that failed last.

    Raises:
        RecipeError: the recipe has no such member, or no shape fits the budget.
        TrainingError: no trial finished.
    """
    chosen = taught_member(recipe, member)
    parent, vocabulary = _parent(recipe, profile, chosen)
    widest = _widest(recipe, chosen, parent)
    shapes = [shape for shape in candidates(parent) if shape.hidden <= widest]
    if budget.parameters is not None:
        found = choose_within(shapes, lambda shape: shape.parameters(vocabulary), budget.parameters, trials)
    else:
        assert budget.milliseconds is not None
        torch.set_num_threads(1)
        found = choose_within(shapes, milliseconds_once(recipe.root, parent).__getitem__, budget.milliseconds, trials)
    searched = shape_search(recipe, chosen, [shape for shape, _ in found], steps=steps)
    outcome = make(searched, profile, plan_nodes(searched))["tune"].read_json("trials.json")
    ranked = rank(found, outcome["trials"])
    artifact.write_json(f"{recipe.root}/prune_search.json", [_plain(one) for one in ranked])
    return ranked


def shape_search(recipe: Recipe, member: Member, shapes: Sequence[Shape], *, steps: int) -> Recipe:
    """Write the search over a member's shape: a trial a shape, each trained for a few steps and judged half-way too."""
    path = f"members.{member.name}.prune"
    variants = [{f"{path}.{field}": getattr(shape, field) for field in ("hidden", "mlp", "layers")} for shape in shapes]
    return listed_search(
        shortened(recipe, member.name, steps=steps),
        variants,
        sets=recipe.tune.judge.sets if recipe.tune is not None else None,
        queries=_QUERIES,
        first_rung=max(1, steps // 2),
    )


def rank(found: Sequence[tuple[Shape, float]], trials: Sequence[Mapping[str, Any]]) -> list[Candidate]:
    """Order candidates by score, whatever order their trials ran in; of equals, the cheaper one comes first."""
    by_number = {trial["number"]: trial for trial in trials}
    made = [Candidate(shape, cost, by_number[number]) for number, (shape, cost) in enumerate(found)]
    return sorted(made, key=lambda one: (-one.report.get("score", -1.0), one.cost, str(one.shape)))


def table(ranked: Sequence[Candidate]) -> str:
    """Show candidates as text, the best first, and the recipe lines of the best."""
    names = list(ranked[0].report["sets"])
    rows = [("rank", "hidden", "mlp", "layers", "parameters", "cost", *names, "score", "95 %")]
    rows += [(str(place), *_cells(one, names)) for place, one in enumerate(ranked, start=1)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    failed = [f"{_name(one.shape)}: {one.trial['reason']}" for one in ranked if not one.report]
    best = ranked[0].shape
    return "\n".join([*lines, *failed, "", f"prune: {{hidden: {best.hidden}, mlp: {best.mlp}, layers: {best.layers}}}"])


def _cells(one: Candidate, names: Sequence[str]) -> list[str]:
    shape, report = one.shape, one.report
    start = [str(shape.hidden), str(shape.mlp), str(shape.layers)]
    if not report:
        return [*start, "–", f"{one.cost:,.4g}", *("–" for _ in names), one.trial["state"], "–"]
    scores = [f"{value:.4f}" for value in (*(report["sets"][name] for name in names), report["score"])]
    interval = f"{report['low']:.4f}–{report['high']:.4f}"
    return [*start, f"{report['parameters']:,}", f"{one.cost:,.4g}", *scores, interval]


def _widest(recipe: Recipe, member: Member, parent: Shape) -> int:
    """Widest student that the member's teachers can teach."""
    shapes = recipe.shapes()
    widths = [shape.hidden for name in member.teachers if (shape := shapes[name]) is not None]
    return parent.hidden if member.projection else min([parent.hidden, *widths])


def _name(shape: Shape) -> str:
    return f"{shape.hidden} × {shape.mlp} × {shape.layers}"


def _plain(one: Candidate) -> dict[str, Any]:
    return {"shape": one.shape.model_dump(), "cost": one.cost, **one.trial, **one.report}


def _parent(recipe: Recipe, profile: Profile, member: Member) -> tuple[Shape, int]:
    """Widest shape that a member may have, and rows of its table: the parent's widths, with the heads that it keeps.

    A model by name tells its shape only once it is there.
    """
    assert member.prune is not None
    name = member.prune.from_.partition("@")[0]
    backbone, shape = recipe.member(name).backbone, recipe.shapes()[name]
    own = member.prune.vocabulary.tokens if member.prune.vocabulary is not None else None
    rows = own or (backbone.tokenizer.vocabulary if backbone is not None and backbone.tokenizer is not None else None)
    if shape is None or rows is None:
        graph = build(recipe)
        model = graph.nodes[f"prune.{member.name}"].inputs["model"]
        config = make(recipe, profile, graph.needed_for([model]))[model].read_json("model", "config.json")
        rows = own or int(config["vocab_size"])
        shape = Shape(
            hidden=config["hidden_size"],
            mlp=config["intermediate_size"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            kv_heads=config["num_key_value_heads"],
            head_dim=config["head_dim"],
        )
    kept = member.shape(shape)
    assert kept is not None
    widest = {field: getattr(shape, field) for field in ("hidden", "mlp", "layers")}
    return Shape.model_validate({**kept.model_dump(), **widest}), rows
