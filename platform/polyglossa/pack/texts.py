"""The texts of examples: rendered, each distinct one tokenised once.

Legend: Q examples, T distinct texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from polyglossa.model.encoder import render
from polyglossa.pack.columns import Ints, dictionary_codes
from polyglossa.pack.documents import Documents
from polyglossa.pack.examples import Examples
from polyglossa.records import text_id


@dataclass(frozen=True)
class Texts:
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
    def of(cls, examples: Examples, documents: Documents, tokenizer: Tokenizer, max_tokens: int) -> "Texts":
        """Render and tokenise what examples use.

        Args:
            examples: whose texts.
            documents: texts of positives and negatives.
            tokenizer: appends EOS itself and does not pad.
            max_tokens: longest text, EOS included.
        """
        queries, query_Q = _render_queries(examples)
        rendered, document = _render_documents(examples, documents)
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


def _render_queries(examples: Examples) -> tuple[list[str], Ints]:
    """Distinct rendered queries, and which one each example has."""
    query, instruction = examples.query.dictionary_encode(), examples.instruction.dictionary_encode()
    distinct, number = _distinct_pairs(dictionary_codes(query), dictionary_codes(instruction))
    texts, prefixes = query.dictionary.to_pylist(), [*instruction.dictionary.to_pylist(), None]
    return [render(texts[text], prefixes[prefix]) for text, prefix in distinct.tolist()], number


def _render_documents(examples: Examples, documents: Documents) -> tuple[list[str], Ints]:
    """Distinct rendered documents, and which one each positive, then each negative, is."""
    row = documents.rows(np.concatenate([examples.positive_ids, examples.negative_ids]))
    instruction = examples.document_instruction.dictionary_encode()
    code = dictionary_codes(instruction)
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
