"""The Ray feed: the plan executed ahead of the trainer, each rank receiving exactly its own micro-batches, in order.

`StepDataConfig.configure` is the one hook of Ray Train that knows the number of workers and runs anew for each worker
group: it asks for the next step and lays the remaining plan out for that many ranks. A block is one Arrow row: k
consecutive steps of one rank. Blocks come rank after rank, `preserve_order` keeps them so, and `streaming_split`
hands equal rows out in turn: rank r gets block r of every round. That is asserted on arrival, not hoped for.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import ray.data
from ray.data import DataIterator, Dataset, Datasource, ExecutionOptions, ReadTask
from ray.data.block import BlockMetadata
from ray.train import DataConfig

from polyglossa.data.blocks import make_blocks
from polyglossa.data.feed_spec import FeedSpec, open_plan
from polyglossa.errors import TrainingError

if TYPE_CHECKING:
    from polyglossa.data.batch import RankBatch


class StepDataConfig(DataConfig):
    """Feeds each named run's plan, from its next step, laid out for however many workers there are."""

    def __init__(
        self,
        specs: Mapping[str, FeedSpec],
        start_of: Callable[[str], int],
        *,
        steps_per_block: int = 8,
        blocks_per_task: int = 16,
        readers: int = 2,
        task_cpus: float = 0.0,
    ):
        """Describe the feed; nothing is read yet.

        Args:
            specs: data set name → what is fed under it.
            start_of: data set name → first step that is still to run; called anew for each worker group.
            steps_per_block: consecutive steps of one rank that travel together.
            blocks_per_task: blocks of each rank that one Ray task makes.
            readers: tasks that make batches at the same time.
            task_cpus: CPUs that such a task reserves; 0 runs beside trainers that hold every CPU.
        """
        super().__init__()
        self._specs, self._start_of = dict(specs), start_of
        self._shape = (steps_per_block, blocks_per_task)
        self._readers, self._task_cpus = readers, task_cpus

    def configure(
        self, datasets: Mapping[str, Dataset], world_size: int, *args: Any, **kwargs: Any
    ) -> list[dict[str, DataIterator]]:
        """Return each worker's iterators over its own micro-batches."""
        shards: list[dict[str, DataIterator]] = [{} for _ in range(world_size)]
        for name in datasets:
            source = StepSource(self._specs[name], world_size, self._start_of(name), *self._shape)
            steps = step_dataset(source, name, readers=self._readers, task_cpus=self._task_cpus)
            for rank, shard in enumerate(steps.streaming_split(world_size, equal=True)):
                shards[rank][name] = shard
        return shards


class StepSource(Datasource):
    """Steps of a plan as a data source: a task makes the blocks of a stretch of steps for every rank."""

    def __init__(self, spec: FeedSpec, world: int, start: int, steps_per_block: int, blocks_per_task: int):
        super().__init__()
        self._spec, self._world, self._steps_per_block = spec, world, steps_per_block
        stretch = steps_per_block * blocks_per_task
        stop = open_plan(spec).total_steps
        self._stretches = [range(first, min(stop, first + stretch)) for first in range(start, stop, stretch)]

    @property
    def tasks(self) -> int:
        """How many tasks make the steps."""
        return len(self._stretches)

    def get_name(self) -> str:
        """Name the source in Ray's progress and logs."""
        return "Steps"

    def estimate_inmemory_data_size(self) -> int | None:
        """Leave the size open: it is not known without reading."""
        return None

    def get_read_tasks(self, parallelism: int, *args: Any, **kwargs: Any) -> list[ReadTask]:
        """Return one task per stretch of steps, in order."""
        return [
            ReadTask(
                partial(make_blocks, self._spec, self._world, stretch, self._steps_per_block),
                BlockMetadata(
                    num_rows=math.ceil(len(stretch) / self._steps_per_block) * self._world,
                    size_bytes=None,
                    input_files=None,
                    exec_stats=None,
                ),
            )
            for stretch in self._stretches
        ]


def step_dataset(source: StepSource, name: str, *, readers: int, task_cpus: float) -> Dataset:
    """Build the lazy data set of a step source: ordered, one row per block."""
    dataset = ray.data.read_datasource(
        source,
        override_num_blocks=max(1, source.tasks),
        concurrency=readers,
        ray_remote_args={"num_cpus": task_cpus, "max_retries": -1},
    )
    dataset.set_name(name)
    # Ray cuts a task's output into blocks of about this many bytes: 1 makes every row a block of its own. The splitter
    # hands blocks out in turn, so with equal rows each rank gets its own ones.
    dataset.context.target_max_block_size = 1
    dataset.context.execution_options = ExecutionOptions(preserve_order=True)
    dataset.context.enable_progress_bars = False
    return dataset


def placeholder_datasets(names: Iterable[str]) -> dict[str, Dataset]:
    """Stand-ins that `TorchTrainer(datasets=…)` is given; `StepDataConfig` puts the real ones in their place."""
    return {name: ray.data.range(1) for name in names}


def rank_batches(shard: DataIterator, *, rank: int, world: int, start: int) -> Iterator["RankBatch"]:
    """Receive a rank's batches in order.

    Args:
        shard: the worker's iterator (`ray.train.get_dataset_shard`).
        rank: this worker.
        world: number of workers.
        start: the first step.

    Raises:
        TrainingError: what arrived belongs to another rank, step or number of workers.
    """
    from polyglossa.data.stream import unpack  # torch: Ray's coordinators import this file and do without

    step, began = start, time.perf_counter()
    for block in shard.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2):
        for payload in block.column("steps").chunk(0).flatten():
            batch = unpack(payload.as_py())
            if (batch.step, batch.rank, batch.world) != (step, rank, world):
                raise TrainingError(
                    f"the feed gave rank {rank} of {world} the batch of step {batch.step}, rank {batch.rank} of "
                    f"{batch.world}, where step {step} was due. Start the run again: it resumes at its last checkpoint."
                )
            yield replace(batch, wait_seconds=time.perf_counter() - began)
            step, began = step + 1, time.perf_counter()
