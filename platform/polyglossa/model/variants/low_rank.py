"""A low-rank embedding table: U·V in place of the table, trained at sampled sub-ranks (3-D Matryoshka's vocabulary).

A sub-rank k uses U's first k columns and V's first k rows, so one training gives tables of every size. `fold` turns it
back into a plain table of a chosen rank, which stock loaders read. V = rows of the table, R = rank, D = width.
"""

import math
import random

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


class LowRankEmbedding(nn.Module):
    """An embedding table as the product of two factors.

    Attributes:
        left_VR: one row a token.
        right_RD: shared by all tokens.
        active: sub-rank in use; set it before a step (see `draw_rank`).
    """

    def __init__(self, left_VR: Tensor, right_RD: Tensor, padding_idx: int | None) -> None:
        super().__init__()
        self.left_VR, self.right_RD = nn.Parameter(left_VR), nn.Parameter(right_RD)
        self.padding_idx = padding_idx
        self.active = right_RD.shape[0]

    def forward(self, input_ids_BL: Tensor) -> Tensor:
        """Look tokens up at the active sub-rank: [B, L, D]."""
        left_BLR = nn.functional.embedding(input_ids_BL, self.left_VR, padding_idx=self.padding_idx)
        return left_BLR[..., : self.active] @ self.right_RD[: self.active]


def factorise(backbone: PreTrainedModel, rank: int, *, even: bool = True) -> LowRankEmbedding:
    """Replace a backbone's table by factors that start at its best approximation of the rank (truncated SVD).

    Singular values go largest first, so every sub-rank starts at its best too.

    Args:
        backbone: changed in place.
        rank: columns of the tokens' factor.
        even: whether both factors get the singular values' root; if not, all of them are on the tokens' side, as
            ML-Embed publishes it.

    Raises:
        ValueError: the rank is not within 1 … D.
    """
    table = backbone.get_input_embeddings()
    rows, width = table.weight.shape
    if not 1 <= rank <= min(rows, width):
        raise ValueError(f"rank: {rank} is not within 1 … {min(rows, width)}, the table's width")
    left_VR, values_R, right_RD = torch.linalg.svd(table.weight.detach().float(), full_matrices=False)
    left_R = values_R[:rank].sqrt() if even else values_R[:rank]
    right_R = values_R[:rank].sqrt() if even else torch.ones_like(left_R)
    low_rank = LowRankEmbedding(
        (left_VR[:, :rank] * left_R).to(table.weight.dtype),
        (right_R[:, None] * right_RD[:rank]).to(table.weight.dtype),
        table.padding_idx,
    )
    backbone.set_input_embeddings(low_rank)
    return low_rank


def fold(backbone: PreTrainedModel, rank: int | None = None) -> None:
    """Turn the factors back into a plain table, at a sub-rank or at the full rank; a plain table stays as it is."""
    low_rank = backbone.get_input_embeddings()
    if not isinstance(low_rank, LowRankEmbedding):
        return
    weight_VD = (low_rank.left_VR[:, :rank] @ low_rank.right_RD[:rank]).detach()
    plain = nn.Embedding.from_pretrained(weight_VD, freeze=False, padding_idx=low_rank.padding_idx)
    backbone.set_input_embeddings(plain)


def draw_rank(largest: int, seed: int, smallest: int = 64) -> int:
    """Draw the sub-rank of a step from smallest … largest, each k with probability proportional to k.

    Args:
        largest: full rank; ranks below `smallest` are drawn only where the full rank is itself below it.
        seed: a pure function of stage seed and step, so that every rank of a world draws the same.
        smallest: least sub-rank.
    """
    below = min(smallest, largest) - 1
    # Σ_{i ≤ k} i = k(k + 1)/2; invert it at a uniform point between the sums of both ends.
    least, most = below * (below + 1) / 2, largest * (largest + 1) / 2
    point = least + (most - least) * random.Random(f"rank {seed}").random()
    return min(largest, max(below + 1, math.ceil((math.sqrt(1 + 8 * point) - 1) / 2)))


def published_ranks(largest: int, smallest: int = 64) -> tuple[int, ...]:
    """Return ML-Embed's sub-ranks (arXiv 2605.15081): powers of two from `smallest` to `largest`, and `largest`."""
    powers = (2**exponent for exponent in range(largest.bit_length()))
    return (*(rank for rank in powers if smallest <= rank < largest), largest)


def draw_published_rank(largest: int, seed: int) -> int:
    """Draw the sub-rank of a step among the published ones, each with probability proportional to itself.

    Args:
        largest: full rank.
        seed: as for `draw_rank`.
    """
    ranks = published_ranks(largest)
    return random.Random(f"rank {seed}").choices(ranks, weights=ranks)[0]
