"""The registry of stages: each is declared here once, and whatever lists, places, runs or prices stages reads it.

To add a stage, write its folder (`run.py` with `STAGE`, `REVISION` and `run`), its recipe section, its placement in a
profile, and one line here. A stage that is missing here is an error wherever it is met.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from polyglossa.errors import RecipeError
from polyglossa.recipe import Profile, StagePlacement

_EVALUATION, _SERVING = ("cluster", "evaluate"), ("cluster", "serve")


@dataclass(frozen=True)
class Cost:
    """What a stage costs besides its work; measured on two Zen 4 cores with the quickstart."""

    start_seconds: float = 0.0
    """Processes, imports, one first pass."""
    again_share: float = 1.0
    """Share of the start that second and later nodes take: idle workers are there, and a group shares its own."""
    worker_gib: float = 0.0
    """Memory of one worker's process, models apart (PSS; a shared page counts once)."""
    embeds: bool = False
    """Each worker holds a model and runs it forward."""


@dataclass(frozen=True)
class Stage:
    """One stage."""

    name: str
    module: str
    """Has `STAGE`, `REVISION`, `run`, `run_many` where workers are shared, and `input_fingerprint` where it reads files
    of the user's. Loaded when the stage runs: torch, ray and mteb would cost `recipe check` seconds."""
    placement: str | None
    """Its field of a profile; None has no workers: its driver does all of it."""
    cost: Cost
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
    extras: tuple[str, ...] = ("cluster",)
    """What of the package must be installed to run it, as `pyproject.toml` groups it."""
    has_job: bool = True
    """Has a command in `jobs/` and a RayJob; others are made on the way, or are services."""

    def load(self) -> Any:
        """Import the stage's module."""
        return import_module(self.module)

    def placement_in(self, profile: Profile) -> StagePlacement:
        """Look up what its workers may use."""
        placement = StagePlacement() if self.placement is None else getattr(profile, self.placement)
        assert isinstance(placement, StagePlacement)
        return placement


STAGES: Mapping[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("evaluation_texts", "polyglossa.evaluate.export_texts", None, Cost(), extras=_EVALUATION, has_job=False),
        Stage("corpus", "polyglossa.corpus.run", "corpus", Cost(4.0, worker_gib=0.3), takes_what_is_there=True),
        Stage("backbone", "polyglossa.backbone.run", "backbone", Cost(2.0, 0.1, 0.6), has_job=False),
        Stage("pack", "polyglossa.pack.run", "pack", Cost(4.0, 0.1, 0.5), takes_what_is_there=True),
        Stage(
            "train", "polyglossa.pipeline.train_and_evaluate", "train", Cost(15.0, worker_gib=2.2),
            takes_profile=True, shares_workers=True, makes_model=True,
        ),
        Stage("mine", "polyglossa.mine.run", "mine", Cost(12.0, worker_gib=0.4, embeds=True)),
        Stage("prune", "polyglossa.prune.run", "prune", Cost(8.5, 0.1, 0.2, embeds=True), makes_model=True),
        Stage("distill", "polyglossa.distill.run", "distill", Cost(9.0, worker_gib=1.0, embeds=True)),
        Stage("merge", "polyglossa.merge.run", "merge", Cost(10.0, 0.15, 1.0, embeds=True), makes_model=True),
        Stage(
            "evaluate", "polyglossa.evaluate.run", "evaluate", Cost(11.0, 0.3, 1.2, embeds=True), shares_workers=True,
            extras=_EVALUATION,
        ),
        Stage("report", "polyglossa.report.run", None, Cost()),
        Stage(
            "serve", "polyglossa.serving.run", "serve", Cost(18.0, worker_gib=0.6), worker_per_model=True,
            beside_run=True, extras=_SERVING, has_job=False,
        ),
        Stage("tune", "polyglossa.tune.run", "tune", Cost(), takes_profile=True, has_job=False),
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
