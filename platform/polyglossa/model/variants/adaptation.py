"""Say what a stage adds to a backbone for training, as plain values. No torch: they travel with the run to workers."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Lora:
    """Low-rank additions to linear layers (arXiv 2106.09685)."""

    rank: int
    alpha: float
    """The additions are scaled by alpha / rank."""
    dropout: float
    modules: tuple[str, ...]
    """Names of the linear layers that get additions."""


@dataclass(frozen=True)
class Adaptation:
    """What `adapt` adds and `restore` takes back."""

    embedding_rank: int | None = None
    """Rank of the factors of the embedding table; None trains the table itself."""
    lora: Lora | None = None
    """None trains every weight."""
    seed: int = 0
    """Of the additions' initial weights and of the ranks drawn: the same on every rank."""
    embedding_ranks: Literal["any", "published"] = "any"
    """Which sub-ranks of the factors are drawn, and where the factors start."""

    @property
    def drops(self) -> bool:
        """Whether anything is drawn anew in each pass."""
        return self.lora is not None and self.lora.dropout > 0
