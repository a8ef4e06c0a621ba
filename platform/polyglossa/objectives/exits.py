"""A loss over layer exits: the mean of the same loss at every exit (ML-Embed's 3-D Matryoshka, equal weights).

T = texts, X = exits, D = width.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Loss = Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]


def mean_over_exits(loss_of: Loss, state_XTD: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Average a loss over the exits.

    Args:
        loss_of: states of one exit [T, D] → loss and its terms.
        state_XTD: raw states of every exit, deepest last.

    Returns:
        Mean loss, and its terms: those of the deepest exit under their own names, the mean loss of the others as
        `exits` where there are others.
    """
    losses, terms = zip(*(loss_of(state_TD) for state_TD in state_XTD), strict=True)
    shallow = {"exits": torch.stack(losses[:-1]).mean().detach()} if len(losses) > 1 else {}
    return torch.stack(losses).mean(), {**terms[-1], **shallow}
