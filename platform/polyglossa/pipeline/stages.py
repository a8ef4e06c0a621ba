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
from polyglossa.recipe.sections.backbone import BackboneConfig
from polyglossa.recipe.sections.corpus import CorpusConfig
from polyglossa.recipe.sections.evaluate import EvaluateConfig, EvaluationTextsConfig
from polyglossa.recipe.sections.members import AdaptersConfig
from polyglossa.recipe.sections.merge import MergeConfig
from polyglossa.recipe.sections.mine import MineConfig
from polyglossa.recipe.sections.own import Bm25Config, OwnStage
from polyglossa.recipe.sections.pack import PackConfig
from polyglossa.recipe.sections.prune import PruneStage
from polyglossa.recipe.sections.report import ReportConfig
from polyglossa.recipe.sections.serve import ServeConfig
from polyglossa.recipe.sections.sources import SyntheticSource
from polyglossa.recipe.sections.teacher import TeacherConfig
from polyglossa.recipe.sections.train import TrainConfig
from polyglossa.recipe.strict import Strict
from polyglossa.recipe.trial import SearchConfig

_EVALUATION, _SERVING = ("cluster", "evaluate"), ("cluster", "serve")


@dataclass(frozen=True)
class Stage:
    """One stage."""

    name: str
    config: type[Strict]
    """What shapes its artifacts: the slice of a recipe that its nodes hold, and that `run` takes."""
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
            "evaluation_texts", EvaluationTextsConfig, "polyglossa.evaluate.export_texts",
            "polyglossa.evaluate.export_cost", None, extras=_EVALUATION, has_job=False,
        ),
        Stage(
            "synthesize", SyntheticSource, "polyglossa.synthesize.run", "polyglossa.synthesize.cost", "synthesize",
            has_job=False,
        ),
        Stage(
            "corpus", CorpusConfig, "polyglossa.corpus.run", "polyglossa.corpus.cost", "corpus",
            takes_what_is_there=True,
        ),
        Stage(
            "backbone", BackboneConfig, "polyglossa.backbone.run", "polyglossa.backbone.cost", "backbone",
            has_job=False,
        ),
        Stage("pack", PackConfig, "polyglossa.pack.run", "polyglossa.pack.cost", "pack", takes_what_is_there=True),
        Stage(
            "train", TrainConfig, "polyglossa.pipeline.train_and_evaluate", "polyglossa.train.cost", "train",
            takes_profile=True, shares_workers=True, makes_model=True,
        ),
        Stage("mine", MineConfig, "polyglossa.mine.run", "polyglossa.mine.cost", "mine"),
        Stage("prune", PruneStage, "polyglossa.prune.run", "polyglossa.prune.cost", "prune", makes_model=True),
        Stage("distill", TeacherConfig, "polyglossa.distill.run", "polyglossa.distill.cost", "distill"),
        Stage("merge", MergeConfig, "polyglossa.merge.run", "polyglossa.merge.cost", "merge", makes_model=True),
        Stage(
            "adapters", AdaptersConfig, "polyglossa.merge.adapters", "polyglossa.merge.adapters_cost", None,
            makes_model=True, has_job=False,
        ),
        Stage(
            "evaluate", EvaluateConfig, "polyglossa.evaluate.run", "polyglossa.evaluate.cost", "evaluate",
            shares_workers=True, extras=_EVALUATION,
        ),
        Stage(
            "bm25", Bm25Config, "polyglossa.evaluate.bm25", "polyglossa.evaluate.bm25_cost", None,
            extras=_EVALUATION, has_job=False,
        ),
        Stage(
            "own", OwnStage, "polyglossa.own.run", "polyglossa.own.cost", "evaluate", extras=_EVALUATION, has_job=False,
        ),
        Stage("report", ReportConfig, "polyglossa.report.run", "polyglossa.report.cost", None),
        Stage(
            "serve", ServeConfig, "polyglossa.serving.run", "polyglossa.serving.cost", "serve", worker_per_model=True,
            beside_run=True, extras=_SERVING, has_job=False,
        ),
        Stage(
            "tune", SearchConfig, "polyglossa.tune.run", "polyglossa.tune.cost", "tune", planner="polyglossa.tune.plan",
            takes_profile=True, has_job=False,
        ),
    )
}  # fmt: skip


def find_stage_of(node: Node, stages: Mapping[str, Stage] = STAGES) -> Stage:
    """Look a node's stage up.

    Raises:
        RecipeError: it is not declared.
        TypeError: the node holds another stage's config.
    """
    stage = find_stage(node.stage, stages)
    if not isinstance(node.config, stage.config):
        raise TypeError(f"{node.name}: stage {stage.name} takes {stage.config.__name__}, got {node.config!r}")
    return stage


def find_stage(name: str, stages: Mapping[str, Stage] = STAGES) -> Stage:
    """Look a stage up in the registry, or in another one.

    Raises:
        RecipeError: it is not declared.
    """
    if name not in stages:
        raise RecipeError(f"stage {name}: not declared in pipeline/stages.py; there are {', '.join(stages)}.")
    return stages[name]
