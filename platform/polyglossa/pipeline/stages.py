"""The registry of stages: each is declared here once, and whatever lists, places, runs or prices stages reads it.

To add a stage, write its folder (`run.py` with `STAGE`, `REVISION` and `run`; `cost.py` with `COST`), its recipe
section, its placement in a profile, and one line here. A stage that is missing here is an error wherever it is met.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from polyglossa.costing.work import StageCost
from polyglossa.errors import RecipeError
from polyglossa.pipeline.graph import Node
from polyglossa.recipe import Profile, Recipe, StagePlacement

_EVALUATION, _SERVING = ("cluster", "evaluate"), ("cluster", "serve")


@dataclass(frozen=True)
class Stage:
    """One stage."""

    name: str
    module: str
    """Has `STAGE`, `REVISION`, `run`, `run_many` where workers are shared, and `input_fingerprint` where it reads files
    of the user's. Loaded when the stage runs: torch, ray and mteb would cost `recipe check` seconds."""
    cost_module: str
    """Has `COST`, what it takes in time and memory. Pure: a plan loads neither torch nor Ray."""
    placement: str | None
    """Its field of a profile; None has no workers: its driver does all of it."""
    takes_profile: bool = False
    """Gets the whole profile: a search runs whole graphs, and a training is evaluated meanwhile."""
    shares_workers: bool = False
    """Consecutive independent nodes run in one group: its workers take longer to start than a small node to run."""
    makes_model: bool = False
    """Its artifact holds a model that has learned something, and gets a model card."""
    takes_what_is_there: bool = False
    """Runs with as many of its workers as find room; others wait for all of them."""
    worker_per_model: bool = False
    """Has a worker for each `model:` that it reads, whatever its placement's `workers`."""
    beside_run: bool = False
    """Its driver runs on the machine of the run's own process: it asks an endpoint that listens there alone."""
    planner: str | None = None
    """Module whose `plan_nodes` lays out its nodes, where they are no part of the recipe's graph."""
    extras: tuple[str, ...] = ("cluster",)
    """What of the package must be installed to run it, as `pyproject.toml` groups it."""
    has_job: bool = True
    """Has a command in `jobs/` and a RayJob; others are made on the way, or are services."""

    def load(self) -> Any:
        """Import the stage's module."""
        return import_module(self.module)

    def plan(self, recipe: Recipe) -> Sequence[Node]:
        """Lay out the nodes of a stage that is made only when it is asked for, with all they need."""
        assert self.planner is not None
        nodes: Sequence[Node] = import_module(self.planner).plan_nodes(recipe)
        return nodes

    @property
    def cost(self) -> StageCost:
        """What it takes in time and memory."""
        found = import_module(self.cost_module).COST
        assert isinstance(found, StageCost)
        return found

    def placement_in(self, profile: Profile) -> StagePlacement:
        """Look up what its workers may use."""
        placement = StagePlacement() if self.placement is None else getattr(profile, self.placement)
        assert isinstance(placement, StagePlacement)
        return placement


STAGES: Mapping[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            "evaluation_texts", "polyglossa.evaluate.export_texts", "polyglossa.evaluate.export_cost", None,
            extras=_EVALUATION, has_job=False,
        ),
        Stage(
            "synthesize", "polyglossa.synthesize.run", "polyglossa.synthesize.cost", "synthesize", has_job=False,
        ),
        Stage("corpus", "polyglossa.corpus.run", "polyglossa.corpus.cost", "corpus", takes_what_is_there=True),
        Stage("backbone", "polyglossa.backbone.run", "polyglossa.backbone.cost", "backbone", has_job=False),
        Stage("pack", "polyglossa.pack.run", "polyglossa.pack.cost", "pack", takes_what_is_there=True),
        Stage(
            "train", "polyglossa.pipeline.train_and_evaluate", "polyglossa.train.cost", "train",
            takes_profile=True, shares_workers=True, makes_model=True,
        ),
        Stage("mine", "polyglossa.mine.run", "polyglossa.mine.cost", "mine"),
        Stage("prune", "polyglossa.prune.run", "polyglossa.prune.cost", "prune", makes_model=True),
        Stage("distill", "polyglossa.distill.run", "polyglossa.distill.cost", "distill"),
        Stage("merge", "polyglossa.merge.run", "polyglossa.merge.cost", "merge", makes_model=True),
        Stage(
            "evaluate", "polyglossa.evaluate.run", "polyglossa.evaluate.cost", "evaluate",
            shares_workers=True, extras=_EVALUATION,
        ),
        Stage(
            "bm25", "polyglossa.evaluate.bm25", "polyglossa.evaluate.bm25_cost", None,
            extras=_EVALUATION, has_job=False,
        ),
        Stage("own", "polyglossa.own.run", "polyglossa.own.cost", "evaluate", extras=_EVALUATION, has_job=False),
        Stage("report", "polyglossa.report.run", "polyglossa.report.cost", None),
        Stage(
            "serve", "polyglossa.serving.run", "polyglossa.serving.cost", "serve", worker_per_model=True,
            beside_run=True, extras=_SERVING, has_job=False,
        ),
        Stage(
            "tune", "polyglossa.tune.run", "polyglossa.tune.cost", "tune", planner="polyglossa.tune.plan",
            takes_profile=True, has_job=False,
        ),
    )
}  # fmt: skip


def find_stage(name: str, stages: Mapping[str, Stage] = STAGES) -> Stage:
    """Look a stage up in the registry, or in another one.

    Raises:
        RecipeError: it is not declared.
    """
    if name not in stages:
        raise RecipeError(f"stage {name}: not declared in pipeline/stages.py; there are {', '.join(stages)}.")
    return stages[name]
