"""Vectors that survive compression: what the loss sees is the compressed vector, what is trained is the one before it.

The gradient passes the rounding as if it were not there (straight-through, arXiv 1308.3432; for embeddings
pplx-embed, arXiv 2602.11151). What a vector becomes is what the endpoint and files give (`vectors.as_int8`,
`vectors.as_sign_bits`): int8 is scaled by each vector's own largest coordinate, a bit is 1 where one is positive.
Both are compared by cosine; of bits that is 1 − 2 · Hamming distance / width.

T = texts, W = a Matryoshka width.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize


def to_int8(state_TW: Tensor) -> Tensor:
    """Round each normalised state to 255 steps between plus and minus its largest coordinate; the gradient passes."""
    vector_TW = normalize(state_TW, dim=-1)
    step_T1 = vector_TW.detach().abs().amax(dim=-1, keepdim=True).clamp_min(1e-12) / 127
    return _replace(vector_TW, (vector_TW / step_T1).round() * step_T1)


def to_binary(state_TW: Tensor) -> Tensor:
    """Keep the sign of each coordinate of a normalised state, at length 1; the gradient passes."""
    vector_TW = normalize(state_TW, dim=-1)
    sign_TW = (vector_TW > 0).to(vector_TW.dtype) * 2 - 1
    return _replace(vector_TW, sign_TW / math.sqrt(state_TW.shape[-1]))


def _replace(vector_TW: Tensor, value_TW: Tensor) -> Tensor:
    """Give the value forward and the vector's gradient backward; the value to the last bit, unlike v + (x − v)."""
    return _StraightThrough.apply(vector_TW, value_TW.detach())


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, vector: Tensor, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None
