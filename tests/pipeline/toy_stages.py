"""A registry whose stages do a test's work in place of their own; addresses stay those of the real stages."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import PurePosixPath
from typing import Any

from polyglossa.artifact import Artifact, Draft
from polyglossa.pipeline.stages import STAGES, Stage

Work = Callable[[str, Any, Mapping[str, Artifact], Draft], None]
"""(stage, config, inputs, draft): writes what the stage would."""


@dataclass(frozen=True)
class ToyModule:
    """What `execute` asks of a stage's module."""

    stage: str
    work: Work

    def run(self, config: Any, inputs: Mapping[str, Artifact], draft: Draft, placement: object) -> None:
        self.work(self.stage, config, inputs, draft)

    def run_many(self, jobs: Sequence[tuple[Any, Mapping[str, Artifact], Draft]], placement: object) -> None:
        for config, inputs, draft in jobs:
            self.work(self.stage, config, inputs, draft)


@dataclass(frozen=True, kw_only=True)
class ToyStage(Stage):
    """A declared stage with other work, and no model card."""

    work: Work

    def load(self) -> ToyModule:
        return ToyModule(self.name, self.work)


def toy_stages(work: Work) -> Mapping[str, Stage]:
    """Every declared stage, doing `work`."""
    return {name: _toy(stage, work) for name, stage in STAGES.items()}


def _toy(stage: Stage, work: Work) -> ToyStage:
    declared = {field.name: getattr(stage, field.name) for field in fields(stage)}
    return ToyStage(**{**declared, "makes_model": False}, work=work)


def name_of(draft: Draft) -> str:
    """Return the name of the node that a draft belongs to."""
    return PurePosixPath(draft.uri).name.rpartition("-")[0]
