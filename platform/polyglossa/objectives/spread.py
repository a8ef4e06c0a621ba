"""Keep vectors spread out over the sphere, so that they bear quantisation and approximate search.

N = texts, W = a Matryoshka width.
"""

from torch import Tensor
from torch.nn.functional import normalize


def spread_out(state_NW: Tensor, text_N: Tensor) -> Tensor:
    """Global orthogonal regulariser: the mean squared cosine of two different texts (EmbeddingGemma, arXiv 2509.20354).

    1 / pairs · Σ_{i ≠ j} cos(x_i, x_j)². Independent uniform directions have 1 / W (arXiv 1708.06320).

    Args:
        state_NW: raw states.
        text_N: which text each row is; rows of one text are no pair.

    Returns:
        0 … 1 (scalar); 0 where no two texts differ.
    """
    vector_NW = normalize(state_NW, dim=-1)
    different_NN = text_N[:, None] != text_N[None, :]
    square_NN = (vector_NW @ vector_NW.T).square() * different_NN
    return square_NN.sum() / different_NN.sum().clamp_min(1)
