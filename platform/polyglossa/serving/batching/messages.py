"""Messages between the endpoint and a replica: tokens of a batch there, states back."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Reply:
    """What a replica sends back for a batch of N texts."""

    state_ND: np.ndarray
    """Raw states, float32; a row that is not finite failed."""
    replica: str
    """Which replica answered."""
    tokenizer: str
    """Digest of the tokenizer that its model expects."""
    seconds: float
    """Time in the model."""
    slots: int
    """Token slots of attention, padding included; no other layer computes padding."""
    start_seconds: float = 0.0
    """How long the replica took to load."""
    engine: Mapping[str, Any] = field(default_factory=dict)
    """What the replica computes with, and how that was chosen."""


class Send(Protocol):
    """How batches reach a member."""

    def __call__(self, tokens: np.ndarray, lengths: list[int], task: str | None = None) -> Awaitable[Reply]:
        """Have a batch embedded.

        Args:
            tokens: of all texts, end to end.
            lengths: tokens of each text.
            task: whose adapter is used; None uses none.

        Raises:
            ApiError: it could not be.
        """
