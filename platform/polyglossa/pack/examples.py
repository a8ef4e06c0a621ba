"""From pairs to examples: exploded, and shuffled by hash.

A pair with several positives becomes one example per positive; they share the pair's group, so they are never each
other's negatives. A document instruction belongs to a row: it goes before the positive and the negatives alike.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from polyglossa.hash_order import reading_order
from polyglossa.pack.columns import Ints, dictionary_codes, flat, gather_ranges
from polyglossa.pack.documents import id_bytes


@dataclass(frozen=True)
class Examples:
    """Rows to pack, shuffled; columns as long as the examples unless said otherwise."""

    query: pa.Array
    pair_ids: NDArray[np.bytes_]
    positive_ids: NDArray[np.bytes_]
    negative_ids: NDArray[np.bytes_]
    """All rows' negatives, one after another."""
    negative_offsets: Ints
    """[Q + 1]."""
    instruction: pa.Array
    document_instruction: pa.Array
    group: Ints
    positive_score: NDArray[np.float32]
    """The miner's, NaN where not mined."""
    score: NDArray[np.float32]
    """The pair's own (task `sts`), NaN where it has none."""
    candidate_scores: NDArray[np.float32] | None = None
    """A re-scorer's, row by row: of the positive, then of the negatives, NaN where it gave none; None where mining did
    not re-score."""

    def __len__(self) -> int:
        return len(self.query)

    def slice(self, start: int, stop: int) -> "Examples":
        """Take examples [start, stop)."""
        first, last = self.negative_offsets[start], self.negative_offsets[min(stop, len(self))]
        return Examples(
            query=self.query[start:stop],
            pair_ids=self.pair_ids[start:stop],
            positive_ids=self.positive_ids[start:stop],
            negative_ids=self.negative_ids[first:last],
            negative_offsets=self.negative_offsets[start : stop + 1] - first,
            instruction=self.instruction[start:stop],
            document_instruction=self.document_instruction[start:stop],
            group=self.group[start:stop],
            positive_score=self.positive_score[start:stop],
            score=self.score[start:stop],
            candidate_scores=self._candidate_scores(start, min(stop, len(self))),
        )

    @property
    def candidate_offsets(self) -> Ints:
        """[Q + 1], of `candidate_scores`: each row has one more than it has negatives."""
        return self.negative_offsets + np.arange(len(self.negative_offsets))

    def _candidate_scores(self, start: int, stop: int) -> NDArray[np.float32] | None:
        if self.candidate_scores is None:
            return None
        return self.candidate_scores[self.candidate_offsets[start] : self.candidate_offsets[stop]]


def shuffle_examples(pairs: pa.Table, *, source: str, negatives: bool, instructions: bool, seed: int) -> Examples:
    """Turn a source's pairs into examples in the order of a salted hash.

    Args:
        pairs: PAIR or MINED_PAIR rows of one source and split.
        source: its name; salts the groups.
        negatives: whether negatives are kept.
        instructions: whether instructions are kept.
        seed: salt of the order.
    """
    pairs = pairs.combine_chunks()
    positives = flat(pairs["positive_ids"])
    counts = pc.list_value_length(positives).to_numpy(zero_copy_only=False)
    pair = np.repeat(np.arange(len(counts)), counts)
    turn = np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts)
    pair_ids = id_bytes(pairs["pair_id"])
    order = np.argsort(reading_order(pair_ids[pair], turn, seed), kind="stable")
    pair = pair[order]
    negative_ids, negative_offsets = _negatives(pairs, pair, negatives)
    rescored = negatives and "candidate_scores" in pairs.column_names
    absent = pa.nulls(len(pairs), pa.string())
    return Examples(
        query=flat(pairs["query"]).take(pair),
        pair_ids=pair_ids[pair],
        positive_ids=id_bytes(positives.flatten())[order],
        negative_ids=negative_ids,
        negative_offsets=negative_offsets,
        instruction=(flat(pairs["instruction"]) if instructions else absent).take(pair),
        document_instruction=(flat(pairs["document_instruction"]) if instructions else absent).take(pair),
        group=_groups(pairs, source)[pair],
        positive_score=_numbers(pairs, "positive_score")[pair],
        score=_numbers(pairs, "score")[pair],
        candidate_scores=_candidate_scores(pairs, pair, turn[order], counts) if rescored else None,
    )


def _negatives(pairs: pa.Table, pair: Ints, wanted: bool) -> tuple[NDArray[np.bytes_], Ints]:
    if not wanted:
        return np.empty(0, dtype="S16"), np.zeros(len(pair) + 1, dtype=np.int64)
    column = flat(pairs["negative_ids"])
    counts = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    starts = np.cumsum(counts) - counts
    offsets = np.concatenate([[0], np.cumsum(counts[pair])])
    return gather_ranges(id_bytes(column.flatten()), starts[pair], counts[pair]), offsets


def _candidate_scores(pairs: pa.Table, pair: Ints, turn: Ints, positives: Ints) -> NDArray[np.float32]:
    """Scores of each example: of its own positive among its row's, then of the row's negatives."""
    column, negatives = flat(pairs["candidate_scores"]), pc.list_value_length(flat(pairs["negative_ids"]))
    there = pc.is_valid(column).to_numpy(zero_copy_only=False)
    held = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    count = negatives.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    values = column.flatten().fill_null(float("nan")).to_numpy(zero_copy_only=False).astype(np.float32)
    starts = np.cumsum(held) - held
    lengths = count[pair] + 1
    scores = np.full(int(lengths.sum()), np.nan, np.float32)
    first = np.cumsum(lengths) - lengths
    known = there[pair]
    scores[first[known]] = values[(starts[pair] + turn)[known]]
    known_negatives = np.repeat(known, lengths)
    known_negatives[first] = False
    scores[known_negatives] = gather_ranges(values, (starts + positives)[pair[known]], count[pair[known]])
    return scores


def _groups(pairs: pa.Table, source: str) -> Ints:
    """One number per group of the source; a pair without a group is a group of its own."""
    own = np.frombuffer(id_bytes(pairs["pair_id"]).tobytes(), dtype=np.int64)[::2]
    encoded = flat(pairs["group"]).dictionary_encode()
    hashes = [xxhash.xxh3_64_intdigest(f"{source}\x1f{group}".encode()) for group in encoded.dictionary.to_pylist()]
    known = np.array([*hashes, 0], dtype=np.uint64).view(np.int64)
    codes = dictionary_codes(encoded)
    return np.where(codes < 0, own, known[codes])


def _numbers(pairs: pa.Table, column: str) -> NDArray[np.float32]:
    if column not in pairs.column_names:
        return np.full(len(pairs), np.nan, dtype=np.float32)
    scores = flat(pairs[column]).fill_null(float("nan"))
    return np.asarray(scores.to_numpy(zero_copy_only=False), dtype=np.float32)
