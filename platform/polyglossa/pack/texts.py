"""The texts of examples: rendered, each distinct one once, and their tokens.

Legend: Q examples, T distinct texts.
"""

from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from polyglossa.model.instructions import render
from polyglossa.pack.columns import Ints, dictionary_codes
from polyglossa.pack.documents import Documents
from polyglossa.pack.examples import Examples
from polyglossa.records import text_id

_TEXTS_AT_ONCE = 8192  # an encoding holds much more than its ids


@dataclass(frozen=True)
class Texts:
    """The distinct rendered texts of a group of examples, and which of them each example uses."""

    ids_T: NDArray[np.bytes_]
    """Hashes of the rendered texts, ascending."""
    rendered_T: list[str]
    bare_T: list[str]
    """Without instruction."""
    instruction_T: list[str | None]
    asks_T: list[bool]
    """Whether it is a query of any example; else it is a document."""
    query_Q: Ints
    positive_Q: Ints
    negatives: Ints
    """Flat, as Examples.negative_ids."""

    @classmethod
    def of(cls, examples: Examples, documents: Documents, prompts: tuple[str, str] = ("", "")) -> "Texts":
        """Render what examples use.

        Args:
            examples: whose texts.
            documents: texts of positives and negatives.
            prompts: what stands before every query, and before every document.
        """
        queries, query_Q = _queries(examples)
        used, document = _documents(examples, documents)
        parts = [*queries, *used]
        prefixes = [prompts[0]] * len(queries) + [prompts[1]] * len(used)
        rendered = [
            prefix + render(text, instruction) for prefix, (text, instruction) in zip(prefixes, parts, strict=True)
        ]
        ids = np.array([text_id(text) for text in rendered], dtype="S16")
        # Queries come first, so of a text that is both the first one asks.
        ids_T, first_T, number = np.unique(ids, return_index=True, return_inverse=True)
        document = number[len(queries) + document]
        return cls(
            ids_T=ids_T,
            rendered_T=[rendered[i] for i in first_T],
            bare_T=[parts[i][0] for i in first_T],
            instruction_T=[parts[i][1] or None for i in first_T],
            asks_T=(first_T < len(queries)).tolist(),
            query_Q=number[query_Q],
            positive_Q=document[: len(examples)],
            negatives=document[len(examples) :],
        )


@dataclass(frozen=True)
class Tokens:
    """Token ids of texts, one text after another."""

    ids: NDArray[np.uint32]
    offsets: Ints
    """[T + 1]."""
    full_length_T: Ints
    """Tokens before the cut."""

    @classmethod
    def of(cls, texts: list[str], tokenizer: Tokenizer, max_tokens: int) -> "Tokens":
        """Tokenise rendered texts.

        Args:
            texts: what is tokenised.
            tokenizer: appends EOS itself and does not pad.
            max_tokens: longest text, EOS included.
        """
        ids, lengths, full = _tokenise(tokenizer, texts, max_tokens)
        return cls(ids, np.concatenate([[0], np.cumsum(lengths)]), full)


def _queries(examples: Examples) -> tuple[list[tuple[str, str | None]], Ints]:
    """Distinct queries with their instructions, and which one each example has."""
    query, instruction = examples.query.dictionary_encode(), examples.instruction.dictionary_encode()
    distinct, number = _distinct_pairs(dictionary_codes(query), dictionary_codes(instruction))
    texts, prefixes = query.dictionary.to_pylist(), [*instruction.dictionary.to_pylist(), None]
    return [(texts[text], prefixes[prefix]) for text, prefix in distinct.tolist()], number


def _documents(examples: Examples, documents: Documents) -> tuple[list[tuple[str, str | None]], Ints]:
    """Distinct documents with their instructions, and which one each positive, then each negative, is."""
    row = documents.rows(np.concatenate([examples.positive_ids, examples.negative_ids]))
    instruction = examples.document_instruction.dictionary_encode()
    code = dictionary_codes(instruction)
    code = np.concatenate([code, np.repeat(code, np.diff(examples.negative_offsets))])
    distinct, number = _distinct_pairs(row, code)
    prefixes = [*instruction.dictionary.to_pylist(), None]
    texts = documents.texts(distinct[:, 0])
    return [(text, prefixes[code]) for text, code in zip(texts, distinct[:, 1].tolist(), strict=True)], number


def _distinct_pairs(first: Ints, second: Ints) -> tuple[Ints, Ints]:
    """Distinct (first, second ≥ -1) pairs as [N, 2], and the number of each item's pair."""
    base = int(second.max(initial=-1)) + 2
    key, number = np.unique(first * base + second + 1, return_inverse=True)
    return np.stack([key // base, key % base - 1], axis=1), number


def _tokenise(tokenizer: Tokenizer, texts: list[str], max_tokens: int) -> tuple[NDArray[np.uint32], Ints, Ints]:
    """Token ids one after another, their lengths after the cut, and before it. EOS is the last token of each."""
    # Whoever tokenised with it before may have left a limit set; what is cut is counted here.
    tokenizer.no_truncation()
    encoded = [
        encoding.ids
        for start in range(0, len(texts), _TEXTS_AT_ONCE)
        for encoding in tokenizer.encode_batch_fast(texts[start : start + _TEXTS_AT_ONCE])
    ]
    full = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
    kept = (ids if len(ids) <= max_tokens else ids[: max_tokens - 1] + ids[-1:] for ids in encoded)
    lengths = np.minimum(full, max_tokens)
    tokens = np.fromiter(chain.from_iterable(kept), dtype=np.uint32, count=int(lengths.sum()))
    return tokens, lengths, full
