"""Messages between the endpoint and a replica: tokens of a batch there, states back."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

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


Send = Callable[[np.ndarray, list[int]], Awaitable[Reply]]
"""Takes the tokens of a batch end to end and their lengths; raises `Problem`."""
