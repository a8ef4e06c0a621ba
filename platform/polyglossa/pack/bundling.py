"""From pairs to token bundles: explode, shuffle by hash, render, tokenise each distinct text once. No Ray, no files.

A pair with several positives becomes one example per positive; they share the pair's group, so they are never each
other's negatives. A document instruction belongs to a row: it goes before the positive and the negatives alike.

Legend: Q examples, T distinct texts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray
from tokenizers import Tokenizer

from polyglossa.model.encoder import render
from polyglossa.pack.documents import Documents, id_bytes
from polyglossa.records import TOKEN_BUNDLE, text_id

Ints = NDArray[np.int64]

_GROUP_ROWS = 16_384  # examples rendered and tokenised at a time: bounds memory, and batches suit the tokenizer


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
        )


@dataclass(frozen=True)
class Packed:
    """One bundle, ready to be written."""

    table: pa.Table
    """One row of TOKEN_BUNDLE."""
    examples: int
    texts: int
    tokens: int
    tokens_cut: int
    """Tokens that its texts lost to the length limit."""
    texts_cut: int
    negatives: int


def shuffled_examples(pairs: pa.Table, *, source: str, negatives: bool, instructions: bool, seed: int) -> Examples:
    """Turn a source's pairs into examples in the order of a salted hash.

    Args:
        pairs: PAIR or MINED_PAIR rows of one source and split.
        source: its name; salts the groups.
        negatives: whether negatives are kept.
        instructions: whether instructions are kept.
        seed: salt of the order.
    """
    pairs = pairs.combine_chunks()
    positives = _list_column(pairs, "positive_ids")
    counts = pc.list_value_length(positives).to_numpy(zero_copy_only=False)
    pair = np.repeat(np.arange(len(counts)), counts)
    turn = np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts)
    pair_ids = id_bytes(pairs["pair_id"])
    order = np.argsort(_mixed(pair_ids[pair], turn, seed), kind="stable")
    pair = pair[order]
    negative_ids, negative_offsets = _negatives(pairs, pair, negatives)
    absent = pa.nulls(len(pairs), pa.string())
    return Examples(
        query=_flat(pairs["query"]).take(pair),
        pair_ids=pair_ids[pair],
        positive_ids=id_bytes(positives.flatten())[order],
        negative_ids=negative_ids,
        negative_offsets=negative_offsets,
        instruction=(_flat(pairs["instruction"]) if instructions else absent).take(pair),
        document_instruction=(_flat(pairs["document_instruction"]) if instructions else absent).take(pair),
        group=_groups(pairs, source)[pair],
        positive_score=_scores(pairs)[pair],
    )


def pack_bundles(
    examples: Examples,
    documents: Documents,
    tokenizer: Tokenizer,
    *,
    source: str,
    task: str,
    max_tokens: int,
    bundle_rows: int,
    first_bundle: int = 0,
) -> Iterator[Packed]:
    """Render, tokenise and bundle examples.

    Args:
        examples: in their final order.
        documents: texts of positives and negatives.
        tokenizer: appends EOS itself and does not pad; a limit on length is taken off it.
        source: name in the bundles.
        task: task in the bundles.
        max_tokens: longest text, EOS included; EOS survives the cut.
        bundle_rows: examples of a bundle; the last may hold fewer.
        first_bundle: number of the first bundle.
    """
    group = max(1, _GROUP_ROWS // bundle_rows) * bundle_rows
    number = first_bundle
    for start in range(0, len(examples), group):
        part = examples.slice(start, start + group)
        texts = _Texts.of(part, documents, tokenizer, max_tokens)
        for first in range(0, len(part), bundle_rows):
            yield _bundle(part, texts, range(first, min(len(part), first + bundle_rows)), source, task, number)
            number += 1


@dataclass(frozen=True)
class _Texts:
    """The distinct rendered texts of a group of examples, and which of them each example uses."""

    ids_T: NDArray[np.bytes_]
    tokens: NDArray[np.uint32]
    offsets: Ints
    """[T + 1]."""
    full_length_T: Ints
    """Tokens before the cut."""
    query_Q: Ints
    positive_Q: Ints
    negatives: Ints
    """Flat, as Examples.negative_ids."""

    @classmethod
    def of(cls, examples: Examples, documents: Documents, tokenizer: Tokenizer, max_tokens: int) -> "_Texts":
        queries, query_Q = _rendered_queries(examples)
        rendered, document = _rendered_documents(examples, documents)
        texts = queries + rendered
        ids = np.array([text_id(text) for text in texts], dtype="S16")
        ids_T, first_T, number = np.unique(ids, return_index=True, return_inverse=True)
        tokens, lengths, full = _tokenise(tokenizer, [texts[i] for i in first_T], max_tokens)
        document = number[len(queries) + document]
        return cls(
            ids_T=ids_T,
            tokens=tokens,
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
            full_length_T=full,
            query_Q=number[query_Q],
            positive_Q=document[: len(examples)],
            negatives=document[len(examples) :],
        )


def _bundle(examples: Examples, texts: _Texts, rows: range, source: str, task: str, number: int) -> Packed:
    span = slice(rows.start, rows.stop)
    offsets = examples.negative_offsets[rows.start : rows.stop + 1]
    used = np.concatenate([texts.query_Q[span], texts.positive_Q[span], texts.negatives[offsets[0] : offsets[-1]]])
    text, local = np.unique(used, return_inverse=True)
    local = local.astype(np.int32)
    count = len(rows)
    lengths = texts.offsets[text + 1] - texts.offsets[text]
    tokens = _lists(_ragged(texts.tokens, texts.offsets[text], lengths), lengths)
    columns: dict[str, Any] = {
        "source": pa.array([source]),
        "task": pa.array([task]),
        "bundle": pa.array([number], pa.int32()),
        "tokens": _one(tokens),
        "text_ids": _one(_fixed(texts.ids_T[text])),
        "pair_ids": _one(_fixed(examples.pair_ids[span])),
        "query": _one(pa.array(local[:count])),
        "positive": _one(pa.array(local[count : 2 * count])),
        "negatives": _one(_lists(local[2 * count :], np.diff(offsets))),
        "group": _one(pa.array(examples.group[span])),
        "positive_score": _one(pa.array(examples.positive_score[span])),
    }
    full = texts.full_length_T[text]
    return Packed(
        table=pa.table([columns[name] for name in TOKEN_BUNDLE.names], names=TOKEN_BUNDLE.names).cast(TOKEN_BUNDLE),
        examples=count,
        texts=len(text),
        tokens=int(lengths.sum()),
        tokens_cut=int((full - lengths).sum()),
        texts_cut=int((full > lengths).sum()),
        negatives=int(offsets[-1] - offsets[0]),
    )


def _rendered_queries(examples: Examples) -> tuple[list[str], Ints]:
    """Distinct rendered queries, and which one each example has."""
    query, instruction = examples.query.dictionary_encode(), examples.instruction.dictionary_encode()
    distinct, number = _distinct_pairs(_codes(query), _codes(instruction))
    texts, prefixes = query.dictionary.to_pylist(), [*instruction.dictionary.to_pylist(), None]
    return [render(texts[text], prefixes[prefix]) for text, prefix in distinct.tolist()], number


def _rendered_documents(examples: Examples, documents: Documents) -> tuple[list[str], Ints]:
    """Distinct rendered documents, and which one each positive, then each negative, is."""
    row = documents.rows(np.concatenate([examples.positive_ids, examples.negative_ids]))
    instruction = examples.document_instruction.dictionary_encode()
    code = _codes(instruction)
    code = np.concatenate([code, np.repeat(code, np.diff(examples.negative_offsets))])
    distinct, number = _distinct_pairs(row, code)
    prefixes = [*instruction.dictionary.to_pylist(), None]
    texts = documents.texts(distinct[:, 0])
    return [render(text, prefixes[code]) for text, code in zip(texts, distinct[:, 1].tolist(), strict=True)], number


def _distinct_pairs(first: Ints, second: Ints) -> tuple[Ints, Ints]:
    """Distinct (first, second ≥ -1) pairs as [N, 2], and the number of each item's pair."""
    base = int(second.max(initial=-1)) + 2
    key, number = np.unique(first * base + second + 1, return_inverse=True)
    return np.stack([key // base, key % base - 1], axis=1), number


def _codes(encoded: pa.DictionaryArray) -> Ints:
    """Dictionary codes, -1 where null."""
    return encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def _tokenise(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int) -> tuple[NDArray[np.uint32], Ints, Ints]:
    """Token ids one after another, their lengths after the cut, and before it. EOS is the last token of each."""
    # Whoever tokenised with it before may have left a limit set; what is cut is counted here.
    tokenizer.no_truncation()
    encoded = [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts))]
    full = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
    kept = (ids if len(ids) <= max_tokens else ids[: max_tokens - 1] + ids[-1:] for ids in encoded)
    lengths = np.minimum(full, max_tokens)
    tokens = np.fromiter(chain.from_iterable(kept), dtype=np.uint32, count=int(lengths.sum()))
    return tokens, lengths, full


def _negatives(pairs: pa.Table, pair: Ints, wanted: bool) -> tuple[NDArray[np.bytes_], Ints]:
    if not wanted:
        return np.empty(0, dtype="S16"), np.zeros(len(pair) + 1, dtype=np.int64)
    column = _list_column(pairs, "negative_ids")
    counts = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    starts = np.cumsum(counts) - counts
    offsets = np.concatenate([[0], np.cumsum(counts[pair])])
    return _ragged(id_bytes(column.flatten()), starts[pair], counts[pair]), offsets


def _groups(pairs: pa.Table, source: str) -> Ints:
    """One number per group of the source; a pair without a group is a group of its own."""
    own = np.frombuffer(id_bytes(pairs["pair_id"]).tobytes(), dtype=np.int64)[::2]
    encoded = _flat(pairs["group"]).dictionary_encode()
    hashes = [xxhash.xxh3_64_intdigest(f"{source}\x1f{group}".encode()) for group in encoded.dictionary.to_pylist()]
    known = np.array([*hashes, 0], dtype=np.uint64).view(np.int64)
    codes = _codes(encoded)
    return np.where(codes < 0, own, known[codes])


def _scores(pairs: pa.Table) -> NDArray[np.float32]:
    if "positive_score" not in pairs.column_names:
        return np.full(len(pairs), np.nan, dtype=np.float32)
    scores = _flat(pairs["positive_score"]).fill_null(float("nan"))
    return np.asarray(scores.to_numpy(zero_copy_only=False), dtype=np.float32)


def _mixed(ids: NDArray[np.bytes_], turn: Ints, seed: int) -> NDArray[np.uint64]:
    """Salt ids (already hashes) and mix them (splitmix64's finaliser)."""
    salt = np.uint64(xxhash.xxh3_64_intdigest(f"pack\x1f{seed}".encode()))
    value = np.frombuffer(ids.tobytes(), dtype=np.uint64)[::2] ^ salt
    value = value + turn.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _ragged(values: NDArray[Any], starts: Ints, lengths: Ints) -> NDArray[Any]:
    before = np.cumsum(lengths) - lengths
    return values[np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))]


def _flat(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined


def _list_column(pairs: pa.Table, name: str) -> pa.ListArray:
    return _flat(pairs[name])


def _fixed(ids: NDArray[np.bytes_]) -> pa.Array:
    return pa.Array.from_buffers(pa.binary(16), len(ids), [None, pa.py_buffer(np.ascontiguousarray(ids).tobytes())])


def _lists(values: NDArray[Any], lengths: Ints) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def _one(values: pa.Array) -> pa.ListArray:
    """A column of one row that holds all the values."""
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)
