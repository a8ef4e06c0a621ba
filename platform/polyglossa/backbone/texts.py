"""The texts a tokenizer is trained on: queries and documents of the corpus's training part, each distinct text once.

Queries come behind their instruction, as the last training stage renders them, so its words become single tokens (an
instruction is two thirds of a short query). Held-out and validation texts are left out, also where the documents table
holds them. Of a large corpus a sample is taken, by hashes of ids: what is in memory is of the sample's size.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from polyglossa.artifact import Artifact, open_storage
from polyglossa.hash_order import ODD, scatter
from polyglossa.model.instructions import render
from polyglossa.records import text_id
from polyglossa.vectors import as_keys

_LINKS = ("positive_ids", "negative_ids")
_KIND = ("source", "language")
_ROWS = 16_384  # read at once
Kind = tuple[str, str, str | None]
"""Role (query or document), source, language."""


def training_texts(corpus: Artifact, most: int) -> Iterator[str]:
    """Yield distinct texts of the training part: queries source by source, then documents.

    Args:
        corpus: artifact of stage `corpus`.
        most: about how many; a corpus of no more is taken whole. Of a larger one every (source, language) gives as
            many as it has, up to one number for all.
    """
    shares = sample_shares(_count_kinds(corpus), most)
    wanted = _drawn_documents(corpus, shares)
    linked = np.zeros(len(wanted), bool)
    seen: set[bytes] = set()
    for batch in _training_pairs(corpus, ["pair_id", "query", "instruction", *_KIND, *_LINKS]):
        for column in _LINKS:
            place, known = _look_up(wanted, _ids(pc.list_flatten(batch[column]).drop_null()))
            linked[place[known]] = True
        rows = batch.filter(pa.array(_drawn(batch["pair_id"], batch, "query", shares)))
        queries = zip(rows["query"].to_pylist(), rows["instruction"].to_pylist(), strict=True)
        yield from _unseen((render(text, instruction) for text, instruction in queries), seen)
    for batch in _batches(corpus, ["doc_id", "text"], "documents"):
        place, known = _look_up(wanted, _ids(batch["doc_id"]))
        known[known] = linked[place[known]]
        yield from _unseen(batch["text"].filter(pa.array(known)).to_pylist(), seen)


def sample_shares(counts: Mapping[Kind, int], most: int) -> dict[Kind, float]:
    """Share of each kind's texts that a sample takes: all of small kinds, as many as of the others of large ones.

    Args:
        counts: texts by kind.
        most: texts of the sample; all are taken where there are no more.
    """
    ascending = sorted(counts.values())
    room, level = most, ascending[-1] if ascending else 0
    for place, count in enumerate(ascending):
        if count * (len(ascending) - place) > room:
            level = room // (len(ascending) - place)
            break
        room -= count
    return {kind: min(1.0, level / count) for kind, count in counts.items() if count}


def _count_kinds(corpus: Artifact) -> Counter[Kind]:
    counts: Counter[Kind] = Counter()
    queries, documents = _training_pairs(corpus, _KIND), _batches(corpus, _KIND, "documents")
    for role, batches in (("query", queries), ("document", documents)):
        for batch in batches:
            found = pa.Table.from_batches([batch]).group_by(list(_KIND)).aggregate([([], "count_all")])
            for row in found.to_pylist():
                counts[role, row["source"], row["language"]] += row["count_all"]
    return counts


def _drawn_documents(corpus: Artifact, shares: Mapping[Kind, float]) -> npt.NDArray[np.bytes_]:
    """Ids of the documents that the sample may hold, ascending."""
    found = [
        _ids(batch["doc_id"])[_drawn(batch["doc_id"], batch, "document", shares)]
        for batch in _batches(corpus, ["doc_id", *_KIND], "documents")
    ]
    return np.unique(np.concatenate([np.empty(0, "S16"), *found]))


def _drawn(ids: pa.Array, batch: pa.RecordBatch, role: str, shares: Mapping[Kind, float]) -> npt.NDArray[np.bool_]:
    """Which rows of a batch the sample takes: a draw for each id that depends on it alone."""
    draw = (scatter(as_keys(ids)[:, 0] + ODD) >> np.uint64(11)) / 2.0**53
    kinds = zip(batch["source"].to_pylist(), batch["language"].to_pylist(), strict=True)
    return draw < np.array([shares[role, source, language] for source, language in kinds])


def _ids(column: pa.Array) -> npt.NDArray[np.bytes_]:
    """Ids as S16; their order is that of the bytes."""
    return as_keys(column).astype(">u8").view("S16")[:, 0]


def _look_up(
    known: npt.NDArray[np.bytes_], ids: npt.NDArray[np.bytes_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Place of each id among ascending ones, and whether it is there."""
    if not len(known):
        return np.zeros(len(ids), np.int64), np.zeros(len(ids), bool)
    place = np.searchsorted(known, ids).clip(max=len(known) - 1)
    return place, known[place] == ids


def _training_pairs(corpus: Artifact, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for source in sorted(corpus.read_json("sources.json")):
        yield from _batches(corpus, columns, "pairs", source, rows=ds.field("split") == "train")


def _batches(
    corpus: Artifact, columns: Sequence[str], *parts: str, rows: ds.Expression | None = None
) -> Iterator[pa.RecordBatch]:
    """Read some columns of a folder, a batch at a time, and not far ahead."""
    filesystem, path = open_storage(corpus.at(*parts))
    table = ds.dataset(path, filesystem=filesystem, format="parquet")
    yield from table.to_batches(
        columns=list(columns), filter=rows, batch_size=_ROWS, batch_readahead=2, fragment_readahead=1
    )


def _unseen(texts: Iterable[str], seen: set[bytes]) -> Iterator[str]:
    for text in texts:
        key = text_id(text)
        if key not in seen:
            seen.add(key)
            yield text
