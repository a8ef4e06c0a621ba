"""The `mine` stage: embed every distinct text once on a Ray Data actor pool, search each pool, choose, write, audit.

Sources are mined part by part (`gathering.gather`), so that one part's rows and texts are in memory at a time; the
result does not depend on how they are parted.

Two things outlive a killed run, both outside the draft: the vector store, and the finished tasks under
`<root>/progress/`. A run that starts again does only what is missing, in the same batches, and ends the same.
"""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import starmap
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray

from polyglossa.artifact import Artifact, Draft, clear, exists
from polyglossa.embedding.actors import SourceFacts, SourceSpec, embed_missing, source_facts
from polyglossa.mine.gathering.gather import DRIVER_BYTES, Gathered, Outputs, gather, list_files, write_pairs
from polyglossa.mine.pools import Rows, Unit, rows_to_mine, sort_documents, units
from polyglossa.mine.prepare import Prepared, batch_units
from polyglossa.mine.rescore.actors import Place, Rescoring
from polyglossa.mine.rescore.candidates import searched
from polyglossa.mine.rescore.decide import RESCORED
from polyglossa.mine.tables import read_found, write_table
from polyglossa.mine.texts import collect, unusable_documents, unusable_rows
from polyglossa.mine.work import FOUND, Pool, UnitWork
from polyglossa.mine.write import Mined, Report, rejected
from polyglossa.recipe import StagePlacement
from polyglossa.recipe.sections.mine import MineConfig
from polyglossa.records import MINED_PAIR, RESCORED_PAIR
from polyglossa.runtime.console import track
from polyglossa.runtime.nodes import stage_precision
from polyglossa.scratch.steps import Steps, digest
from polyglossa.vectors import VectorStore

STAGE = "mine"
REVISION = 3

Ints = npt.NDArray[np.int64]

_TASKS_IN_FLIGHT_PER_WORKER = 2


def run(config: MineConfig, inputs: Mapping[str, Artifact], draft: Draft, placement: StagePlacement) -> None:
    """Mine hard negatives.

    Args:
        config: settings of the recipe.
        inputs: `corpus`, and `model` unless `config.model` names a model outside the recipe.
        draft: receives `pairs/<source>/*.parquet` (`records.MINED_PAIR`), `rejects/`, `audit.json`.
        placement: actors, and what each of them may use.
    """
    precision = stage_precision(config.dtype, placement)
    draft.precision, config = precision.plain(), config.changed(dtype=precision.dtype)
    root, name = draft.uri.rpartition("/artifacts/")[0], posixpath.basename(draft.uri)
    progress = posixpath.join(root, "progress", STAGE, name)
    files = list_files(inputs["corpus"], config)
    with track("mine: gather", unit="pieces") as bar:
        lineage = digest([STAGE, REVISION, config.model_dump(mode="json"), inputs["corpus"].hash])
        little = files.stored <= DRIVER_BYTES
        steps = Steps(f"{progress}/steps", lineage, files.plan, placement, bar, in_driver=little)
        gathered = gather(steps, files)
    model = inputs["model"].at("model") if "model" in inputs else config.model
    spec = SourceSpec(model, precision.dtype, placement.torch_device, config.max_tokens, placement.threads, root)
    outside = None if "model" in inputs else model if isinstance(model, str) else model.model
    source = source_facts(spec, placement, parity=outside)
    job = _Job(searched(config), placement, root, source.fingerprint, name)
    parts = _Parts(gathered, config, spec, source, job, progress)
    rescoring = None
    if config.rescore is not None:
        rescoring = Rescoring(config, Place(root, progress, placement))
        for part in gathered.parts:
            one = parts.search(part)
            rescoring.add(one.uris, one.rows, one.documents)
        rescoring.score()
    written = MINED_PAIR if rescoring is None else RESCORED_PAIR
    outputs, report, outcomes = Outputs.of(files), Report(draft, config), []
    for part in gathered.parts:
        mined = parts.search(part).decided(rescoring)
        outcomes.append(outputs.keep(steps, part, mined.outcome(written)))
        report.add(mined)
    figures = {} if rescoring is None else rescoring.figures()
    rows_out = write_pairs(steps, outputs, gathered.plan, outcomes, draft, written)
    report.write(gathered.rows_in, rows_out, **figures)
    clear(progress)


@dataclass(frozen=True)
class _Job:
    """What every worker is told."""

    config: MineConfig
    placement: StagePlacement
    root: str
    fingerprint: str
    run: str
    """Name of the draft, and the part: tells one from the next in a worker that outlives both."""


@dataclass(frozen=True)
class _Searched:
    """A part whose sources were searched."""

    rows: Rows
    documents: pa.Table
    spoilt: npt.NDArray[np.object_]
    reasons: Mapping[int, str]
    figures: Mapping[str, int]
    folder: str
    uris: list[str]
    """Files of what the units found."""

    def decided(self, rescoring: Rescoring | None) -> Mined:
        """Take in what a second opinion says."""
        schema, uris, figures = FOUND, self.uris, dict(self.figures)
        if rescoring is not None:
            schema = RESCORED
            uris, figures["false_negatives"] = rescoring.decide(uris, self.rows, self.documents, self.folder)
        found = pa.concat_tables([schema.empty_table(), *(read_found(uri, schema) for uri in uris)]).combine_chunks()
        reasons = {**self.reasons, **rejected(found)}
        return Mined(self.rows, self.documents, found, self.spoilt, reasons, figures)


class _Parts:
    """Searches parts; the last one is kept, another one is read again, and what was found of it is there."""

    def __init__(
        self,
        gathered: Gathered,
        config: MineConfig,
        spec: SourceSpec,
        source: SourceFacts,
        job: _Job,
        progress: str,
    ) -> None:
        self._gathered, self._config, self._spec, self._source = gathered, config, spec, source
        self._job, self._progress = job, progress
        self._last: tuple[int, _Searched] | None = None
        self._figures: dict[int, Mapping[str, int]] = {}

    def search(self, part: int) -> _Searched:
        """Embed what is missing, search, choose."""
        if self._last is not None and self._last[0] == part:
            return self._last[1]
        self._last = None  # its tables are let go of before the next one's are read
        config, source, placement = self._config, self._source, self._job.placement
        pairs, pooled = self._gathered.rows_of(part)
        documents = sort_documents(pooled)
        rows = Rows.read(pairs, documents)
        mined = rows_to_mine(rows, config, self._gathered.sources_of(part))
        plan = list(units(rows, mined, documents, config))
        texts = collect(rows, mined, plan, documents, config, source.prompts)
        wanted = texts.wanted()
        missing, refused = embed_missing(wanted, self._spec, source, placement, what="mine: embed")
        figures = {"texts": len(wanted), "texts_embedded": missing - refused, "texts_refused": refused}
        store = VectorStore(self._job.root, source.fingerprint)
        spoilt = unusable_documents(texts, store)
        reasons = {
            int(row): reason
            for row, reason in zip(texts.mined, unusable_rows(texts, rows, spoilt, store), strict=True)
            if reason is not None
        }
        folder = posixpath.join(self._progress, f"part-{part:05d}")
        job = replace(self._job, run=f"{self._job.run}/{part}")
        uris = _search(job, Prepared(rows, documents, texts, spoilt, reasons, config), plan, folder)
        found = _Searched(rows, documents, spoilt, reasons, self._figures.setdefault(part, figures), folder, uris)
        self._last = part, found
        return found


def _search(job: _Job, prepared: Prepared, plan: Sequence[Unit], folder: str) -> list[str]:
    """Search and choose, a task at a time; what a task finds is kept, in a file, until the stage is done."""
    tasks = {
        posixpath.join(folder, "found", f"{number:06d}.parquet"): batch
        for number, batch in enumerate(batch_units(plan))
    }
    open_tasks = {uri: batch for uri, batch in tasks.items() if not exists(uri)}
    with track("mine: search", total=sum(len(unit.row) for unit in plan), unit="rows") as bar:
        bar.advance(sum(len(unit.row) for uri in tasks.keys() - open_tasks.keys() for unit in tasks[uri]))
        cuts = prepared.cut(open_tasks.values())
        arguments = ((*cut, job, uri) for uri, cut in zip(open_tasks, cuts, strict=True))
        little = len(tasks) == 1 and not job.placement.gpus
        for done in starmap(_mine_units, arguments) if little else _on_cluster(job, arguments):
            bar.advance(done)
    return list(tasks)


def _on_cluster(job: _Job, arguments: Iterator[tuple[Any, ...]]) -> Iterator[int]:
    """Run tasks on the cluster, a few ahead of the workers; a task whose worker dies is done again.

    A pool lies in the object store once, however many tasks search it, and is let go of with the last of them.
    """
    task = ray.remote(max_retries=-1, **job.placement.ray_options)(_mine_stored)
    waiting: list[Any] = []
    held: dict[int, tuple[Pool, Any]] = {}
    for works, pools, *told in arguments:
        held = {id(pool): held.get(id(pool)) or (pool, ray.put(pool)) for pool in pools}
        waiting.append(task.remote(works, [held[id(pool)][1] for pool in pools], *told))
        while len(waiting) >= job.placement.workers * _TASKS_IN_FLIGHT_PER_WORKER:
            ready, waiting = ray.wait(waiting)
            yield from ray.get(ready)
    while waiting:
        ready, waiting = ray.wait(waiting)
        yield from ray.get(ready)


def _mine_stored(works: Sequence[UnitWork], pools: Sequence[Any], job: _Job, uri: str) -> int:
    """Mine a task's units on a worker, their pools out of the object store."""
    return _mine_units(works, ray.get(list(pools)), job, uri)


def _mine_units(works: Sequence[UnitWork], pools: Sequence[Pool], job: _Job, uri: str) -> int:
    """Mine a task's units on a worker and keep the result; returns the rows done."""
    import torch

    from polyglossa.mine.unit import mine_unit

    torch.set_num_threads(job.placement.threads)
    store = _open_store(job.root, job.fingerprint, job.run)
    device = job.placement.torch_device
    found = [mine_unit(work, pool, store, job.config, device) for work, pool in zip(works, pools, strict=True)]
    write_table(pa.concat_tables([FOUND.empty_table(), *found]), uri)
    return sum(len(work.row) for work in works)


@lru_cache(maxsize=1)
def _open_store(root: str, fingerprint: str, run: str) -> VectorStore:
    """A worker reads the store's index once for all tasks of a run; the store is complete by then."""
    return VectorStore(root, fingerprint)
