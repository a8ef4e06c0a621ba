"""Compressed forms of finished vectors, as an index would hold them, for encoders behind mteb's protocols.

    int8             each vector scaled to its largest coordinate, rounded (`vectors.as_int8`)
    binary           sign bits (`vectors.as_sign_bits`); their cosine is 1 − 2 · Hamming distance / width
    binary_rescored  the nearest by bits, scored again by the float query against the documents' bits (arXiv
                     2106.00882): the index stays at one bit a coordinate. Of searches alone.

All are compared by cosine. A model that is compared by inner product loses the lengths of its vectors here, as it does
wherever these forms are served.

N = texts, Q = queries, D = documents, W = width.
"""

from typing import Any

import numpy as np
import torch
from mteb.similarity_functions import cos_sim, pairwise_cos_sim
from mteb.types import PromptType
from torch import Tensor

from polyglossa.evaluate.models.protocol import MtebEncoder, MtebSearcher
from polyglossa.evaluate.models.states import Floats
from polyglossa.vectors import as_int8, as_sign_bits

INT8, BINARY, BINARY_RESCORED = "int8", "binary", "binary_rescored"
FORMS = (INT8, BINARY, BINARY_RESCORED)
RESCORED_DOCUMENTS = 100
"""Documents that are found by bits for each query, and scored again."""


def compress(vector_NW: Floats, form: str) -> Floats:
    """Return what a form keeps of vectors, as numbers: −127 … 127, or ±1.

    Args:
        vector_NW: finished vectors.
        form: `int8`, or one of bits.
    """
    if form == INT8:
        return as_int8(vector_NW).astype(np.float32)
    bits = np.unpackbits(as_sign_bits(vector_NW), axis=1, count=vector_NW.shape[1])
    return bits.astype(np.float32) * 2 - 1


def rescore(query_QW: Tensor, bits_DW: Tensor, documents: int = RESCORED_DOCUMENTS) -> Tensor:
    """Score documents as a search does that finds by bits and scores what it has found by the float query.

    Args:
        query_QW: float vectors of queries.
        bits_DW: documents, ±1.
        documents: how many are found for each query; those as near as the last one too.

    Returns:
        score_QD: cosines of those found; all others below −1, in the order of their bits.
    """
    by_bits_QD = cos_sim(torch.where(query_QW > 0, 1.0, -1.0), bits_DW)
    if bits_DW.shape[0] <= documents:
        return cos_sim(query_QW, bits_DW)
    last_Q1 = by_bits_QD.topk(documents, dim=1).values[:, -1:]
    return torch.where(by_bits_QD >= last_Q1, cos_sim(query_QW, bits_DW), by_bits_QD / 2 - 2)


class _Compressed(MtebEncoder):
    """An encoder whose vectors are of one form."""

    form: str

    def vectors(self, texts: list[str], task: Any, prompt_type: PromptType | None) -> Floats:
        """Return compressed vectors [N, width]; queries that score again stay as they are."""
        vector_NW = super().vectors(texts, task, prompt_type)
        stays = self.form == BINARY_RESCORED and prompt_type == PromptType.query
        return vector_NW if stays else compress(vector_NW, self.form)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Similarity of every pair."""
        if self.form == BINARY_RESCORED:
            return rescore(torch.as_tensor(embeddings1), torch.as_tensor(embeddings2))
        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Similarity of rows side by side."""
        return pairwise_cos_sim(embeddings1, embeddings2)


class CompressedEncoder(_Compressed):
    """`MtebEncoder` over vectors of one form."""

    def __init__(self, form: str, *arguments: Any, **options: Any) -> None:
        """Wrap a table of states; what follows the form is what `MtebEncoder` takes."""
        super().__init__(*arguments, **options)
        self.form = form


class CompressedSearcher(_Compressed, MtebSearcher):
    """`MtebSearcher` over vectors of one form."""

    def __init__(self, form: str, *arguments: Any, **options: Any) -> None:
        """Wrap a table of states; what follows the form is what `MtebSearcher` takes."""
        super().__init__(*arguments, **options)
        self.form = form
