"""Read the whole of one's own files as rows of one shape, by the corpus's own readers and rules.

What the corpus stage would reject (empty, too long, query equal to its answer) is left out here and counted, so that
nothing is held out that could not have been trained on.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.corpus.clean.ingest import find_reject_reasons, normalise
from polyglossa.corpus.clean.text import normalise_column
from polyglossa.corpus.sources.labelled import labelled_columns
from polyglossa.corpus.sources.shards import plan_shards, read_shard
from polyglossa.corpus.sources.source import Reading
from polyglossa.corpus.splits import parted
from polyglossa.errors import DataError
from polyglossa.readers.files import list_files
from polyglossa.readers.pieces import Piece
from polyglossa.readers.survey import format_of
from polyglossa.readers.tables import read_piece
from polyglossa.recipe.load import validate
from polyglossa.recipe.sections.corpus import CorpusConfig
from polyglossa.recipe.sections.sources import LabelledSource
from polyglossa.scaffold.look import Look
from polyglossa.scaffold.propose import Proposal

MOST_BYTES = 2**30
"""Bytes of files that are split here: their texts are held in memory, about three times over."""

OWN_ROW = pa.schema(
    [
        pa.field("query", pa.string(), nullable=False),
        pa.field("positives", pa.list_(pa.string())),  # null of labelled text
        pa.field("negatives", pa.list_(pa.string())),
        pa.field("group", pa.string()),
        pa.field("label", pa.string()),
        pa.field("language", pa.string()),
        pa.field("positive_language", pa.string()),
        pa.field("score", pa.float64()),  # similarity of scored pairs, weight of clicks
        pa.field("split", pa.string()),  # as the file says it; null where it says none
    ]
)
KINDS = {"retrieval": "search", "bitext": "translations", "sts": "scores"}


@dataclass(frozen=True)
class OwnRows:
    """Rows of one source."""

    name: str
    kind: str
    """`search`, `clicks`, `translations`, `scores` or `labels`."""
    table: pa.Table
    """`OWN_ROW`, every row once."""
    read: int
    """Rows of the files."""
    lost: Counter[str]
    """Rows left out, by reason; `duplicate` among them."""
    repeated: Counter[tuple[Any, ...]]
    """Times of each row that is there more than once: (query, answers, label)."""
    is_code: bool = False
    """Whether answers are program code."""


def read_own(proposal: Proposal) -> OwnRows:
    """Read all rows of a source.

    Raises:
        DataError: the files are larger than can be split here, or a column is not in them.
    """
    _check_size(proposal.look)
    config = validate(CorpusConfig, {"sources": [proposal.entry]}, proposal.look.name)
    source = config.sources[0]
    lost: Counter[str] = Counter()
    if isinstance(source, LabelledSource):
        kind, parts = "labels", list(_labelled(source, lost))
    else:
        kind = "clicks" if proposal.weight is not None else KINDS.get(proposal.task, "search")
        parts = list(_pairs(config, lost))
    table = pa.concat_tables(parts) if parts else OWN_ROW.empty_table()
    read = table.num_rows + lost.total()
    once, repeated = _distinct(table)
    lost["duplicate"] += table.num_rows - once.num_rows
    return OwnRows(proposal.look.name, kind, once, read, +lost, repeated, bool(getattr(source, "code", False)))


def _check_size(look: Look) -> None:
    size = sum(file.size for path in look.paths for file in list_files([path]))
    if size > MOST_BYTES:
        raise DataError(
            f"{look.paths[0]}: {size / 2**30:.1f} GiB; `init` splits up to {MOST_BYTES / 2**30:.0f} GiB of own data. "
            "Give a part of it (the first 500,000 rows teach as much), and the rest later with `--extend`."
        )


def _pairs(config: CorpusConfig, lost: Counter[str]) -> Iterator[pa.Table]:
    for shard in plan_shards(config):
        for reading in read_shard(shard, config):
            lost.update(bad.reason for bad in reading.bad)
            yield _judged(reading, config, lost)


def _judged(reading: Reading, config: CorpusConfig, lost: Counter[str]) -> pa.Table:
    """Rows as the corpus stage would keep them."""
    table = normalise(reading.candidates, keeps_code=bool(getattr(config.sources[0], "code", False)))
    reasons = find_reject_reasons(table, config)
    lost.update(str(reason) for reason in reasons if reason is not None)
    kept = table.filter(pa.array([reason is None for reason in reasons], pa.bool_()))
    columns = {
        "query": kept["query"],
        "positives": kept["positives"],
        "negatives": kept["negatives"],
        "group": kept["group"],
        "label": kept["label"],
        "language": kept["query_language"],
        "positive_language": kept["positive_language"],
        "score": kept["score"].cast(pa.float64()),
        "split": kept["split"],
    }
    return pa.table(columns, schema=OWN_ROW)


def _labelled(source: LabelledSource, lost: Counter[str]) -> Iterator[pa.Table]:
    for file in list_files(source.files, source.name):
        for batch in read_piece(
            Piece(file), format_of(file, source.format), labelled_columns(source), source.delimiter
        ):
            lost.update(bad.reason for bad in batch.bad)
            parts, unknown = parted(batch.table, source.split)
            lost.update(bad.reason for bad in unknown)
            for split, table in parts:
                yield _of_labelled(table, source, split, lost)


def _of_labelled(table: pa.Table, source: LabelledSource, split: str | None, lost: Counter[str]) -> pa.Table:
    text = normalise_column(table[source.text])
    filled = pc.and_(pc.not_equal(pc.fill_null(text, ""), ""), pc.is_valid(table[source.label]))
    lost["empty"] += table.num_rows - int(pc.sum(filled).as_py() or 0)
    rows = table.num_rows
    language = table[source.language_column] if source.language_column else pa.nulls(rows, pa.string())
    nothing = {field.name: pa.nulls(rows, field.type) for field in OWN_ROW}
    columns = nothing | {
        "query": text,
        "label": table[source.label],
        "group": table[source.label],
        "language": language,
        "split": pa.repeat(pa.scalar(split, pa.string()), rows),
    }
    return pa.table({field.name: columns[field.name] for field in OWN_ROW}).filter(filled).cast(OWN_ROW)


def _distinct(table: pa.Table) -> tuple[pa.Table, Counter[tuple[Any, ...]]]:
    """Each row once, a held-out one before an equal one that is trained on; and how often repeated ones are there."""
    splits = table["split"].to_pylist()
    columns = [_hashable(table[name].to_pylist()) for name in ("query", "positives", "label", "score")]
    keys = list(zip(*columns, strict=True))
    seen: dict[tuple[Any, ...], int] = {}
    for row in sorted(range(len(keys)), key=lambda row: splits[row] != "heldout"):
        seen.setdefault(keys[row], row)
    times = Counter((query, positives, label) for query, positives, label, _ in keys)
    repeated = Counter({key: count for key, count in times.items() if count > 1})
    return table.take(pa.array(sorted(seen.values()), pa.int64())), repeated


def _hashable(values: Iterable[Any]) -> list[Any]:
    return [tuple(value) if isinstance(value, list) else value for value in values]
