"""From examples to bundles of tokens or texts: each holds the distinct texts of its examples once. No Ray, no files.

Both cut examples and number texts alike, so a vector for a place in the one is that of the same place in the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from polyglossa.pack.columns import Ints, gather_ranges, id_column, lists, one_row
from polyglossa.pack.documents import Documents
from polyglossa.pack.examples import Examples
from polyglossa.pack.texts import Texts, Tokens
from polyglossa.records import CANDIDATE_SCORES, SCORED_BUNDLE, TEXT_BUNDLE, TOKEN_BUNDLE

_GROUP_ROWS = 16_384  # examples rendered and tokenised at a time: bounds memory, and batches suit the tokenizer


@dataclass(frozen=True)
class Packed:
    """One bundle, ready to be written."""

    table: pa.Table
    """One row of TOKEN_BUNDLE or TEXT_BUNDLE."""
    examples: int
    texts: int
    negatives: int
    tokens: int = 0
    tokens_cut: int = 0
    """Tokens that its texts lost to the length limit."""
    texts_cut: int = 0


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
    prompts: tuple[str, str] = ("", ""),
    scores: bool = False,
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
        prompts: what stands before every query, and before every document.
        scores: whether bundles hold the scores of pairs.
    """
    number, schema = first_bundle, SCORED_BUNDLE if scores else TOKEN_BUNDLE
    if examples.candidate_scores is not None:
        schema = schema.append(CANDIDATE_SCORES)
    for part, texts in _groups(examples, documents, bundle_rows, prompts):
        tokens = Tokens.of(texts.rendered_T, tokenizer, max_tokens)
        for rows in _spans(part, bundle_rows):
            yield _bundle(part, texts, tokens, rows, source, task, number, schema)
            number += 1


def pack_texts(
    examples: Examples, documents: Documents, *, source: str, bundle_rows: int, first_bundle: int = 0
) -> Iterator[Packed]:
    """Bundle the texts of examples as they are: bundle for bundle those of `pack_bundles`, text for text.

    Args:
        examples: in their final order.
        documents: texts of positives and negatives.
        source: name in the bundles.
        bundle_rows: examples of a bundle; the last may hold fewer.
        first_bundle: number of the first bundle.
    """
    number = first_bundle
    for part, texts in _groups(examples, documents, bundle_rows):
        for rows in _spans(part, bundle_rows):
            yield _text_bundle(part, texts, rows, source, number)
            number += 1


def _groups(
    examples: Examples, documents: Documents, bundle_rows: int, prompts: tuple[str, str] = ("", "")
) -> Iterator[tuple[Examples, Texts]]:
    """Render examples a group of whole bundles at a time."""
    group = max(1, _GROUP_ROWS // bundle_rows) * bundle_rows
    for start in range(0, len(examples), group):
        part = examples.slice(start, start + group)
        yield part, Texts.of(part, documents, prompts)


def _spans(examples: Examples, bundle_rows: int) -> Iterator[range]:
    """Rows of each bundle of a group."""
    for first in range(0, len(examples), bundle_rows):
        yield range(first, min(len(examples), first + bundle_rows))


def _used(examples: Examples, texts: Texts, rows: range) -> tuple[Ints, Ints, Ints]:
    """Numbers of the texts that rows use, ascending; place of each use among them; offsets of the rows' negatives."""
    span = slice(rows.start, rows.stop)
    offsets = examples.negative_offsets[rows.start : rows.stop + 1]
    used = np.concatenate([texts.query_Q[span], texts.positive_Q[span], texts.negatives[offsets[0] : offsets[-1]]])
    text, local = np.unique(used, return_inverse=True)
    return text, local, offsets


def _text_bundle(examples: Examples, texts: Texts, rows: range, source: str, number: int) -> Packed:
    text, _, offsets = _used(examples, texts, rows)
    columns: dict[str, Any] = {
        "source": pa.array([source]),
        "bundle": pa.array([number], pa.int32()),
        "text_ids": one_row(id_column(texts.ids_T[text])),
        "texts": one_row(pa.array([texts.bare_T[i] for i in text], pa.string())),
        "instructions": one_row(pa.array([texts.instruction_T[i] for i in text], pa.string())),
        "queries": one_row(pa.array([texts.asks_T[i] for i in text], pa.bool_())),
    }
    table = pa.table([columns[name] for name in TEXT_BUNDLE.names], names=TEXT_BUNDLE.names).cast(TEXT_BUNDLE)
    return Packed(table, examples=len(rows), texts=len(text), negatives=int(offsets[-1] - offsets[0]))


def _bundle(
    examples: Examples,
    texts: Texts,
    tokens: Tokens,
    rows: range,
    source: str,
    task: str,
    number: int,
    schema: pa.Schema,
) -> Packed:
    text, local, offsets = _used(examples, texts, rows)
    local, span = local.astype(np.int32), slice(rows.start, rows.stop)
    count = len(rows)
    lengths = tokens.offsets[text + 1] - tokens.offsets[text]
    ids = lists(gather_ranges(tokens.ids, tokens.offsets[text], lengths), lengths)
    columns: dict[str, Any] = {
        "source": pa.array([source]),
        "task": pa.array([task]),
        "bundle": pa.array([number], pa.int32()),
        "tokens": one_row(ids),
        "text_ids": one_row(id_column(texts.ids_T[text])),
        "pair_ids": one_row(id_column(examples.pair_ids[span])),
        "query": one_row(pa.array(local[:count])),
        "positive": one_row(pa.array(local[count : 2 * count])),
        "negatives": one_row(lists(local[2 * count :], np.diff(offsets))),
        "group": one_row(pa.array(examples.group[span])),
        "positive_score": one_row(pa.array(examples.positive_score[span])),
        "score": one_row(pa.array(examples.score[span])),
    }
    if examples.candidate_scores is not None:
        own = examples.candidate_offsets[rows.start : rows.stop + 1]
        columns["candidate_scores"] = one_row(lists(examples.candidate_scores[own[0] : own[-1]], np.diff(own)))
    full = tokens.full_length_T[text]
    return Packed(
        table=pa.table([columns[name] for name in schema.names], names=schema.names).cast(schema),
        examples=count,
        texts=len(text),
        tokens=int(lengths.sum()),
        tokens_cut=int((full - lengths).sum()),
        texts_cut=int((full > lengths).sum()),
        negatives=int(offsets[-1] - offsets[0]),
    )
