"""Makes what a trial's recipe needs before its student can train. One process for all trials, one request at a time.

Two trials that need the same pruned model get the same artifact, made once: nobody else writes artifacts meanwhile.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from polyglossa.engine.train_run import Compute
from polyglossa.errors import PolyglossaError
from polyglossa.pipeline.execute import execute
from polyglossa.recipe import Profile, Recipe
from polyglossa.recipe.sections.train import TrainConfig
from polyglossa.recipe.sections.tune import TuneConfig
from polyglossa.recipe.trial import SearchConfig, trial_recipe
from polyglossa.runtime.nodes import device_facts_of
from polyglossa.runtime.precision import DeviceFacts
from polyglossa.train.plan import plan_run
from polyglossa.tune.plan import Widths, rung_steps, teacher_widths, trial_graph
from polyglossa.tune.trial.files import trial_files
from polyglossa.tune.trial.score import placed_sets
from polyglossa.tune.trial.student import Assignment


class Maker:
    """From a trial's values to what its student is told to do."""

    def __init__(self, config: SearchConfig, profile: Profile, root: str) -> None:
        """Read the recipe.

        Args:
            config: recipe and search.
            profile: where stages run.
            root: storage root, shared by all trials.
        """
        self._recipe: Recipe = config.whole()
        self._tune: TuneConfig = config.tune
        self._profile, self._root = profile, root
        self._widths: Widths = teacher_widths(self._recipe)
        self._sets = placed_sets(self._recipe)

    @cached_property
    def _devices(self) -> tuple[DeviceFacts, ...]:
        """What trials run on: all of them are computed in one precision."""
        return tuple(device_facts_of(self._profile.tune))

    def total_steps(self, values: Mapping[str, Any]) -> int:
        """Say how many steps a trial takes."""
        return self.assignment(0, values, folder="").run.total_steps

    def prepared(self, **asked: Any) -> tuple[str | None, Assignment | None]:
        """Prepare a trial as `assignment` does; the reason and no assignment where that must fail each time."""
        try:
            return None, self.assignment(**asked)
        except PolyglossaError as error:
            return str(error), None

    def assignment(
        self,
        number: int,
        values: Mapping[str, Any],
        *,
        folder: str,
        known: Sequence[int] = (),
        first: int = 1,
        start: int | None = None,
        until: int | None = None,
    ) -> Assignment:
        """Make all that a trial needs, and say what its student does.

        Args:
            number: of the trial.
            values: its overrides.
            folder: trials' own folders lie in it.
            known: steps whose reports are in the journal already.
            first: steps of the first rung.
            start: trial whose weights it goes on from.
            until: step at which it ends; None is the last one.

        Raises:
            PolyglossaError: the values make no valid recipe, or a stage refuses them.
        """
        graph = trial_graph(self._recipe, trial_recipe(self._recipe, values), self._widths)
        artifacts = execute(graph.nodes, self._root, self._profile)
        config = graph.student.config
        assert isinstance(config, TrainConfig)
        files = trial_files(folder, number)
        inputs = {role: artifacts[name] for role, name in graph.student.inputs.items()}
        run = plan_run(f"trial-{number}", config, inputs, f"{files.training}/output", f"{files.training}/checkpoints")
        rungs = rung_steps(first, self._tune.rungs.factor, run.total_steps) if until is None else (until,)
        if start is not None and until is None:
            rungs = ()
        train, place = self._profile.train, self._profile.tune
        return Assignment(
            run=run,
            compute=Compute(
                zero=train.zero,
                resident_tokens=train.resident_tokens,
                checkpoint_steps=train.checkpoint_steps,
                pass_tokens=train.pass_tokens,
                device=place.torch_device,
                beside=self._devices,
                gradient_checkpointing=train.gradient_checkpointing,
                compile=train.compile,
            ),
            threads=place.threads,
            rungs=tuple(step for step in rungs if step not in known),
            corpus_uri=artifacts["corpus"].uri,
            sets=self._sets,
            judge=self._tune.judge,
            until=until,
            start_uri=None if start is None else trial_files(folder, start).kept,
            kept_uri=files.kept,
            samples_uri=files.samples,
            timed="latency" in self._tune.objectives,
        )
