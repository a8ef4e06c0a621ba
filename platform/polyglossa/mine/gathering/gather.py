"""Gather what a run mines with, and give it back to the corpus's rows: everything else stays in files.

    gathered = gather(steps, files)           # what is mined, in files, by part
    gathered.rows_of(part)                    # rows, and documents with their pools, of one part
    outputs.keep(steps, part, outcome)        # what mining did to them
    write_pairs(steps, outputs, …)            # all rows of the corpus, with what was mined

In memory are the rows of one part that are mined, those that share a query or a group with one, and the documents of
their pools, which `max_queries` and `max_candidates` bound. A part is one source, or several small ones, so memory
depends on the largest source; sources that share a pool (`pool: all`) are one part. Rows that are not mined pass
through files (`scratch.Steps`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs

from polyglossa.artifact import Artifact, Draft, exists, open_storage
from polyglossa.errors import DataError
from polyglossa.mine.gathering import steps as work
from polyglossa.mine.gathering.parts import parts_of
from polyglossa.mine.gathering.steps import CHOSEN, POOLED, ROW, Plan
from polyglossa.recipe.sections.mine import MineConfig
from polyglossa.records import MINED_PAIR
from polyglossa.scratch.steps import Steps
from polyglossa.scratch.task_store import TaskStore, read_array, read_bucket, write_buckets
from polyglossa.storage import place_file

READ_BYTES = 32 * 2**20
"""Stored bytes that one task reads."""
DRIVER_BYTES = 8 * 2**20
"""Stored bytes of a corpus up to which all is done on the driver."""
Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Files:
    """Files of the corpus, and the tasks that read them together."""

    plan: Plan
    pair_bytes: tuple[int, ...]
    document_bytes: tuple[int, ...]

    @property
    def stored(self) -> int:
        """Bytes of all."""
        return sum(self.pair_bytes) + sum(self.document_bytes)


@dataclass(frozen=True)
class Gathered:
    """What a run mines with, in files."""

    plan: Plan
    related: tuple[str, ...]
    """Rows (`steps.ROW`), a bucket a part."""
    fetched: tuple[str, ...]
    """Documents with their pools (`steps.POOLED`), likewise."""
    rows_in: int
    """Training and validation rows of the corpus."""

    @property
    def parts(self) -> range:
        """Numbers of the parts; one at least."""
        return range(max(1, len(self.plan.parts)))

    def sources_of(self, part: int) -> set[str]:
        """Sources whose rows are mined in a part."""
        return {self.plan.sources[source] for one in self.plan.parts[part : part + 1] for source in one}

    def rows_of(self, part: int) -> tuple[dict[str, pa.Table], pa.Table]:
        """Read a part: its rows by source, in the corpus's order (every source has an entry), and its documents."""
        found = read_bucket(self.related, part, ROW)
        documents = read_bucket(self.fetched, part, POOLED)
        source_of = np.array([source for source, _ in self.plan.pairs])[found["file"].to_numpy()]
        pairs = {name: found.filter(pa.array(source_of == number)) for number, name in enumerate(self.plan.sources)}
        return pairs, documents


def list_files(corpus: Artifact, config: MineConfig) -> Files:
    """List what the corpus holds.

    Raises:
        DataError: it has no pairs, or a source of the recipe is not in it.
    """
    filesystem, path = open_storage(corpus.at("pairs"))
    sources = sorted(info.base_name for info in filesystem.get_file_info(pafs.FileSelector(path)))
    if not sources:
        raise DataError(f"{corpus.uri}: the corpus has no pairs to mine.")
    unknown = set(config.sources or ()) - set(sources)
    if unknown:
        raise DataError(f"mine.sources: {sorted(unknown)} not in the corpus; it has {', '.join(sources)}.")
    pairs = [
        (number, *file) for number, name in enumerate(sources) for file in _parquet_files(corpus.at("pairs", name))
    ]
    documents = _parquet_files(corpus.at("documents"))
    buckets = max(1, -(-sum(size for _, size in documents) // READ_BYTES))
    named = tuple((number, uri) for number, uri, _ in pairs)
    plan = Plan(config, tuple(sources), named, tuple(uri for uri, _ in documents), buckets)
    return Files(plan, tuple(size for *_, size in pairs), tuple(size for _, size in documents))


def gather(run: Steps, files: Files) -> Gathered:
    """Gather rows and documents.

    Raises:
        DataError: a row's positive is not among the documents.
    """
    plan = files.plan
    every = together(range(len(plan.pairs)), files.pair_bytes)
    counted = run.run("count", work.count, every)
    rows = _add(work.figures()["rows"] for work in counted)
    plan = run.plan = _limited(plan, counted)
    if not plan.mined:
        return Gathered(plan, (), (), rows.total())
    own = [number for number, (source, _) in enumerate(plan.pairs) if source in plan.mined]
    asked = run.run("ask", work.ask, together(own, files.pair_bytes))
    keys = [tuple(each.at(f"{name}.npy") for each in asked) for name in ("queries", "groups")]
    related = run.run("relate", work.relate, every, *([each] * len(every) for each in keys))
    references = [each.at("references.arrow") for each in (*asked, *related)]
    fetched = _documents(run, files, references)
    return Gathered(plan, tuple(each.at("rows.arrow") for each in related), fetched, rows.total())


def _limited(plan: Plan, counted: Sequence[TaskStore]) -> Plan:
    """Say which sources are mined, in which parts, and up to which key those that are capped."""
    minable = _add(each.figures()["minable"] for each in counted)
    most, limits = plan.config.max_queries, {}
    for source in sorted(source for source, count in minable.items() if most is not None and count > most):
        files = [each.at(f"keys-{source}.npy") for each in counted]
        keys = np.empty(0, np.uint64)
        for file in filter(exists, files):
            keys = np.sort(np.concatenate([keys, read_array(file)]))[:most]
        limits[source] = int(keys[-1])
    mined = {source: min(count, most or count) for source, count in sorted(minable.items()) if count}
    parts = [list(mined)] if plan.config.pool == "all" else parts_of(mined)
    return replace(plan, mined=tuple(mined), parts=tuple(map(tuple, parts)), limits=tuple(limits.items()))


def _documents(run: Steps, files: Files, references: Sequence[str]) -> tuple[str, ...]:
    """Find the documents of the pools, and those that rows refer to; returns files of them, a bucket a part."""
    plan: Plan = run.plan
    tasks = together(range(len(plan.documents)), files.document_bytes)
    task_of = [number for number, task in enumerate(tasks) for _ in task]
    located = [each.at("located.arrow") for each in run.run("locate", work.locate, tasks)]
    buckets = range(plan.buckets)
    chosen = run.run(
        "choose", work.choose, buckets, *([each] * plan.buckets for each in (located, references, task_of))
    )
    missing = sum(each.figures()["missing"] for each in chosen)
    if missing:
        raise DataError(f"corpus: {missing} ids that pairs refer to are not among the documents.")
    files_of = [each.at("chosen.arrow") for each in chosen]
    limits = _pool_limits(plan, files_of)
    fetched = run.run(
        "fetch", work.fetch, tasks, range(len(tasks)), *([each] * len(tasks) for each in (files_of, limits))
    )
    return tuple(each.at("documents.arrow") for each in fetched)


def _pool_limits(plan: Plan, files: Iterable[str]) -> list[tuple[int, str | None, int]]:
    """Largest order of each pool that is capped; a bucket is read at a time."""
    most = plan.config.max_candidates
    if most is None:
        return []
    lowest: dict[tuple[int, str | None], Keys] = defaultdict(lambda: np.empty(0, np.uint64))
    counts: Counter[tuple[int, str | None]] = Counter()
    for uri in files:
        table = _read(uri, CHOSEN)
        table = table.filter(pc.greater(table["pool"], work.NEEDED))
        if plan.config.pool != "language":
            table = table.set_column(
                table.schema.get_field_index("language"), "language", pa.nulls(len(table), pa.string())
            )
        for group in table.group_by(["pool", "language"]).aggregate([("order", "list")]).to_batches():
            for pool, language, orders in zip(
                group["pool"].to_pylist(), group["language"].to_pylist(), group["order_list"], strict=True
            ):
                counts[pool, language] += len(orders.values)
                joined = np.concatenate([lowest[pool, language], orders.values.to_numpy()])
                lowest[pool, language] = np.sort(joined)[:most]
    return [(*kind, int(lowest[kind][-1])) for kind, count in counts.items() if count > most]


@dataclass(frozen=True)
class Outputs:
    """Files of pairs that are written, each made of some of the corpus's."""

    made_of: tuple[tuple[int, tuple[int, ...]], ...]
    """Number of each, and the numbers of the files that it is made of, all of one source."""
    output_of: Ints
    """Number of the file that each file of the corpus goes into."""

    @classmethod
    def of(cls, files: Files) -> "Outputs":
        """Plan what is written."""
        plan = files.plan
        made_of: list[tuple[int, tuple[int, ...]]] = []
        for source in range(len(plan.sources)):
            own = [number for number, (of, _) in enumerate(plan.pairs) if of == source]
            tasks = together(own, files.pair_bytes)
            made_of += [(len(made_of) + place, tuple(task)) for place, task in enumerate(tasks)]
        output_of = np.zeros(len(plan.pairs), np.int64)
        for number, task in made_of:
            output_of[list(task)] = number
        return cls(tuple(made_of), output_of)

    def keep(self, run: Steps, part: int, outcome: pa.Table) -> str:
        """Keep what mining did to the rows of a part, in a file."""
        uri = TaskStore.of(run.root, "outcome", [run.lineage, part]).at("outcome.arrow")
        write_buckets(outcome, self.output_of[outcome["file"].to_numpy()], len(self.made_of), uri)
        return uri


def write_pairs(
    run: Steps, outputs: Outputs, plan: Plan, outcomes: Sequence[str], draft: Draft, schema: pa.Schema = MINED_PAIR
) -> int:
    """Write all rows of the corpus under `pairs/`, with what was mined for them; returns how many.

    Args:
        run: the steps.
        outputs: what is written.
        plan: of the run.
        outcomes: what `Outputs.keep` wrote, part by part.
        draft: the artifact in the making.
        schema: of the rows that are written.
    """
    made_of = outputs.made_of
    attached = run.run("attach", work.attach, made_of, [list(outcomes)] * len(made_of), [schema] * len(made_of))
    first: dict[int, int] = {}
    for (number, task), done in zip(made_of, attached, strict=True):
        source = plan.pairs[task[0]][0]
        place = number - first.setdefault(source, number)
        target = draft.at("pairs", plan.sources[source], f"part-{place:05}.parquet")
        place_file(done.at("pairs.parquet"), target)
    return sum(done.figures()["rows"] for done in attached)


def together(numbers: Sequence[int], sizes: Sequence[int]) -> list[list[int]]:
    """Put files together until a task reads `READ_BYTES`."""
    tasks: list[list[int]] = []
    held = 0
    for number in numbers:
        if not tasks or held + sizes[number] > READ_BYTES:
            tasks.append([])
            held = 0
        tasks[-1].append(number)
        held += sizes[number]
    return tasks


def _parquet_files(uri: str) -> list[tuple[str, int]]:
    """Parquet files of a folder and their bytes, by name."""
    filesystem, path = open_storage(uri)
    found = filesystem.get_file_info(pafs.FileSelector(path))
    return [(f"{uri}/{name}", size) for name, size in sorted((one.base_name, one.size) for one in found)]


def _add(figures: Iterable[Sequence[tuple[int, int]]]) -> Counter[int]:
    total: Counter[int] = Counter()
    for each in figures:
        total.update(dict(each))
    return total


def _read(uri: str, schema: pa.Schema) -> pa.Table:
    filesystem, path = open_storage(uri)
    with filesystem.open_input_file(path) as stream, pa.ipc.open_file(stream) as reader:
        return reader.read_all().cast(schema)
