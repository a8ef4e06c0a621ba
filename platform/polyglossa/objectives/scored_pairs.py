"""Losses over pairs that a score says how alike they are (task `sts`): rank the pairs as their scores do.

Both are log(1 + Σ exp((s_j − s_i) / τ)) over all pairs of pairs where i scores above j; they differ in what s is.

S = scored pairs, D = width.
"""

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize, pad


def cosent(first_SD: Tensor, second_SD: Tensor, score_S: Tensor, *, temperature: float | Tensor) -> Tensor:
    """CoSENT: s is the cosine (Jianlin Su, https://kexue.fm/archives/8847).

    Args:
        first_SD: raw states of the pairs' first texts.
        second_SD: raw states of their second ones.
        score_S: how alike they are; only the order counts.
        temperature: τ.

    Returns:
        Scalar; 0 without two pairs that differ in score.
    """
    return _rank(cosine_similarity(first_SD, second_SD, dim=1), score_S, temperature)


def angle(first_SD: Tensor, second_SD: Tensor, score_S: Tensor, *, temperature: float | Tensor) -> Tensor:
    """AnglE: s is the angle in complex space, whose gradient does not vanish where cosines saturate (arXiv 2309.12871).

    A vector's first half are real parts, its second half imaginary ones; s = |cosine + sine| after normalisation, as in
    sentence-transformers. An odd width is filled up with a zero. Arguments and value are those of `cosent`.
    """
    odd = first_SD.shape[1] % 2
    first_SD, second_SD = (normalize(pad(one, (0, odd)), dim=1) for one in (first_SD, second_SD))
    (real_a, imaginary_a), (real_b, imaginary_b) = first_SD.chunk(2, dim=1), second_SD.chunk(2, dim=1)
    cosine_S = (first_SD * second_SD).sum(1)
    sine_S = (imaginary_a * real_b - real_a * imaginary_b).sum(1)
    return _rank((cosine_S + sine_S).abs(), score_S, temperature)


def _rank(similarity_S: Tensor, score_S: Tensor, temperature: float | Tensor) -> Tensor:
    higher_SS = score_S[:, None] > score_S[None, :]
    gap_P = ((similarity_S[None, :] - similarity_S[:, None]) / temperature)[higher_SS]
    return torch.cat([gap_P.new_zeros(1), gap_P]).logsumexp(0)
