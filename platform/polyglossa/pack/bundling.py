"""From examples to token bundles: each holds the distinct texts of its examples once. No Ray, no files."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from polyglossa.pack.columns import gather_ranges, id_column, lists, one_row
from polyglossa.pack.documents import Documents
from polyglossa.pack.examples import Examples
from polyglossa.pack.texts import Texts
from polyglossa.records import TOKEN_BUNDLE

_GROUP_ROWS = 16_384  # examples rendered and tokenised at a time: bounds memory, and batches suit the tokenizer


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
        texts = Texts.of(part, documents, tokenizer, max_tokens)
        for first in range(0, len(part), bundle_rows):
            yield _bundle(part, texts, range(first, min(len(part), first + bundle_rows)), source, task, number)
            number += 1


def _bundle(examples: Examples, texts: Texts, rows: range, source: str, task: str, number: int) -> Packed:
    span = slice(rows.start, rows.stop)
    offsets = examples.negative_offsets[rows.start : rows.stop + 1]
    used = np.concatenate([texts.query_Q[span], texts.positive_Q[span], texts.negatives[offsets[0] : offsets[-1]]])
    text, local = np.unique(used, return_inverse=True)
    local = local.astype(np.int32)
    count = len(rows)
    lengths = texts.offsets[text + 1] - texts.offsets[text]
    tokens = lists(gather_ranges(texts.tokens, texts.offsets[text], lengths), lengths)
    columns: dict[str, Any] = {
        "source": pa.array([source]),
        "task": pa.array([task]),
        "bundle": pa.array([number], pa.int32()),
        "tokens": one_row(tokens),
        "text_ids": one_row(id_column(texts.ids_T[text])),
        "pair_ids": one_row(id_column(examples.pair_ids[span])),
        "query": one_row(pa.array(local[:count])),
        "positive": one_row(pa.array(local[count : 2 * count])),
        "negatives": one_row(lists(local[2 * count :], np.diff(offsets))),
        "group": one_row(pa.array(examples.group[span])),
        "positive_score": one_row(pa.array(examples.positive_score[span])),
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
