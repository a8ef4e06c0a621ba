"""The corpus stage on Ray Data: read → unique → [sketch → edges → components] → judge → emit → documents → publish.

    run(recipe.corpus, {}, draft, profile.corpus)

What flows through Ray Data are descriptions of shards and buckets; rows stay in files beside the artifact, so memory
does not grow with the corpus, and each finished piece is committed (`scratch.Work`): after a crash only the others are
done again. Layout: `documents/`, `pairs/<source>/`, `rejects/`, `heldout/<set>/`, `heldout/documents.parquet`,
`sources.json`, `decontamination.json`, `report/`.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa
import ray
import ray.data

from polyglossa.artifact import Artifact, Draft, clear
from polyglossa.corpus import row_accounting
from polyglossa.corpus.clean.evaluation_texts import evaluation_sets, set_files
from polyglossa.corpus.clean.written_instructions import DOCUMENTS
from polyglossa.corpus.sources.per_file import expand_sources
from polyglossa.corpus.sources.shards import plan_shards
from polyglossa.corpus.sources.source import Shard
from polyglossa.corpus.sources.synthetic import as_written
from polyglossa.corpus.steps import decontaminate, near_duplicates, publish, tasks
from polyglossa.corpus.steps.decontaminate import KeptOut
from polyglossa.corpus.steps.tasks import Figures, Plan
from polyglossa.corpus.task_store import TaskStore
from polyglossa.errors import DataError
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.corpus import CorpusConfig, EvaluationSet
from polyglossa.recipe.sections.sources import ReadSource
from polyglossa.runtime.console import Bar, track

STAGE = "corpus"
REVISION = 4

BUCKET_BYTES = 32 * 2**20
"""Stored bytes of the sources for which one more bucket is made."""
MIN_BUCKETS = 4
_READING = 2
"""Raised when the same files give other rows. What is made from a corpus goes by its content, so where no row has
changed nothing else is made anew."""


@dataclass
class _Runner:
    """Does the pieces of a step that are not done yet, on Ray Data."""

    root: str
    lineage: str
    plan: Plan
    placement: StagePlacement
    bar: Bar

    def step(self, name: str, task: Callable[..., Figures], items: Sequence[Any], *arguments: Any) -> list[TaskStore]:
        """Run `task(work, plan, item, *arguments of the item)` for every item and return their works, in order."""
        works = [TaskStore.of(self.root, name, [self.lineage, _shape(item)]) for item in items]
        pending = [
            (work, item, *(argument[place] for argument in arguments))
            for place, (work, item) in enumerate(zip(works, items, strict=True))
            if not work.is_done
        ]
        self.bar.note(name)
        self.bar.advance(len(works) - len(pending))
        if pending:
            self._run(task, pending)
        self.lineage = _digest([self.lineage, name, [work.name for work in works]])
        return works

    def _run(self, task: Callable[..., Figures], pending: Sequence[tuple[Any, ...]]) -> None:
        held = ray.put((self.plan, pending))
        rows = ray.data.range(len(pending), override_num_blocks=len(pending))
        # Budgets of the object store say "one task" until the first one ends (Ray 2.60), and nothing large is in it.
        rows.context.op_resource_reservation_enabled = False
        resources = {"label_selector": self.placement.labels} if self.placement.labels else {}
        done = rows.map(_do, fn_args=(held, task), num_cpus=self.placement.cpus, **resources)
        for row in done.iter_rows():
            if row["error"]:
                raise DataError(row["error"])
            self.bar.advance(1)


def _do(row: Mapping[str, int], held: ray.ObjectRef, task: Callable[..., Figures]) -> dict[str, str]:
    """Do one piece of work on a worker; the user's mistakes travel back as text.

    Memory that Arrow keeps for later is given back: the next piece may have another shape, or be another's.
    """
    pa.set_cpu_count(1)
    plan, pending = ray.get(held)
    work, *arguments = pending[row["id"]]
    work.begin()
    try:
        work.commit(task(work, plan, *arguments))
    except DataError as error:
        return {"error": str(error)}
    finally:
        pa.default_memory_pool().release_unused()
    return {"error": ""}


def run(config: CorpusConfig, inputs: Mapping[str, Artifact], draft: Draft, placement: StagePlacement) -> None:
    """Make the corpus artifact.

    Args:
        config: the recipe's `corpus` section.
        inputs: `evaluation_texts` where `decontamination.tasks` names tasks; `synthetic:<source>` for each source that
            a language model wrote.
        draft: where it is written; finished pieces are kept beside it until all is.
        placement: CPUs of a task.
    """
    config = expand_sources(as_written(config, inputs))
    shards = plan_shards(config)
    sets = evaluation_sets(config.decontamination, inputs.get("evaluation_texts"))
    buckets = max(MIN_BUCKETS, -(-sum(shard.size for shard in shards) // BUCKET_BYTES))
    plan = Plan(config, row_sources(config), buckets)
    passes = 4 + 2 * (config.near_duplicates is not None)
    with track("corpus", total=len(shards) + len(sets) + passes * buckets, unit="pieces") as bar:
        root = f"{draft.uri.rstrip('/')}.work"
        lineage = _digest([STAGE, REVISION, config.model_dump(mode="json"), buckets, *_reading(config)])
        runner = _Runner(root, lineage, plan, placement, bar)
        _curate(runner, shards, sets, draft)
    clear(root)


def _curate(runner: _Runner, shards: Sequence[Shard], sets: Sequence[EvaluationSet], draft: Draft) -> None:
    buckets = list(range(runner.plan.buckets))
    every = len(buckets)
    data = runner.plan.config.data
    readings = runner.step("read", tasks.read, shards)
    row_accounting.check_readable(readings, shards, runner.plan.config)
    rows = [work.at(f"rows-{part:05}.arrow") for work in readings for part in range(work.figures()["parts"])]
    found = row_accounting.written_instructions(readings)
    written = tuple(source for source, figures in found.items() if figures[DOCUMENTS])
    runner.plan = replace(runner.plan, rows=tuple(rows), written=written)
    uniques = runner.step("unique", tasks.unique, buckets)
    near = _near_duplicates(runner, uniques) if runner.plan.config.near_duplicates else None
    drops = [near.at(f"drop-{bucket:05}.npy") for bucket in buckets] if near is not None else [None] * every
    indexes = runner.step(
        "index", decontaminate.index, [(evaluation, set_files(evaluation, data)) for evaluation in sets]
    )
    kept_out = KeptOut(
        secret=tuple(work.at("secret.npy") for work in readings),
        sets=tuple((evaluation.name, work.at("")) for evaluation, work in zip(sets, indexes, strict=True)),
    )
    filtered = runner.step("judge", decontaminate.decontaminate, buckets, uniques, drops, [kept_out] * every)
    thresholds = row_accounting.thresholds(filtered, runner.plan)
    emitted = runner.step("emit", tasks.emit, buckets, filtered, [thresholds] * every)
    files = [work.at("documents.arrow") for work in emitted]
    documents = runner.step("documents", tasks.documents, buckets, [files] * every)
    made = publish.Made(runner.plan, readings, uniques, filtered, emitted, documents, indexes, near)
    publish.publish(draft, made, revision=REVISION)


def _near_duplicates(runner: _Runner, uniques: Sequence[TaskStore]) -> TaskStore:
    """Find near-duplicates: work with a file of the places to drop for each bucket."""
    buckets = list(range(runner.plan.buckets))
    sketched = runner.step("sketch", near_duplicates.sketch, buckets, uniques)
    bands = [work.at("bands.arrow") for work in sketched]
    edged = runner.step("edges", near_duplicates.edges, buckets, [bands] * len(buckets))
    files = [work.at("edges.npy") for work in edged]
    (work,) = runner.step("components", near_duplicates.components, [0], [sketched], [files])
    return work


def input_fingerprint(config: CorpusConfig) -> str:
    """Hash names, sizes and times of all files that the recipe names, for the artifact's key: new data, new corpus."""
    data = config.data
    files = [shard.identity() for shard in plan_shards(expand_sources(config))]
    sets = [asdict(file) for evaluation in config.decontamination.sets for file in set_files(evaluation, data)]
    return _digest([files, sets, *_reading(config)])


def _reading(config: CorpusConfig) -> list[int]:
    """Name how files are read: corpora of embedded sources alone have none, and stay what they are when it changes."""
    return [_READING] if any(isinstance(source, ReadSource) for source in config.sources) else []


def row_sources(config: CorpusConfig) -> tuple[str, ...]:
    """Names that rows carry, in recipe order."""
    return tuple(name for source in config.sources for name in source.row_sources)


def _shape(item: Any) -> Any:
    """An item of a step as the JSON value that tells it from the others."""
    if isinstance(item, Shard):
        return item.identity()
    if isinstance(item, tuple):
        evaluation, files = item
        return [evaluation.model_dump(mode="json"), [asdict(file) for file in files]]
    return item


def _digest(shape: Any) -> str:
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:20]
