"""Recipe section `corpus`: where rows come from and how they are cleaned."""

from typing import Annotated, Literal

from pydantic import Field

from polyglossa.recipe.strict import Strict


class CldrSource(Strict):
    """Names of territories, languages, currencies and scripts in every language of CLDR, read through Babel."""

    kind: Literal["cldr"]
    name: str = "cldr"
    """Name of the source; rows carry it."""
    pairs_per_name: int = Field(2, ge=1)
    """How many partner languages each name is paired with (English is always one of them)."""
    classification: bool = True
    """Also make name → kind pairs (task `classification`), as source `<name>_kind`."""


class PydocSource(Strict):
    """First docstring paragraph → source of the function without its docstring, from Python's standard library."""

    kind: Literal["pydoc"]
    name: str = "pydoc"
    """Name of the source; rows carry it."""
    max_characters: int = Field(1200, ge=80)
    """Longer function bodies are cut here (characters)."""


Source = Annotated[CldrSource | PydocSource, Field(discriminator="kind")]


class CorpusConfig(Strict):
    """What the corpus is made of."""

    sources: tuple[Source, ...] = Field(min_length=1)
    """In order: where two sources hold the same row, the first keeps it."""
    heldout_share: float = Field(0.1, gt=0, lt=0.5)
    """Share of concepts (cldr) or modules (pydoc) kept out of training for evaluation."""
    validation_share: float = Field(0.01, ge=0, lt=0.5)
    """Share of training rows, by hash, kept for validation loss."""
    seed: int = 0
    """Salt of every choice by hash."""
