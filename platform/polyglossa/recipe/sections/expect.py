"""Recipe section `expect`: what the data is known or thought to hold, for `polyglossa plan`. Shapes no artifact.

A plan counts with it until packed data lies in the recipe's storage; from then on it counts with what was packed.
"""

from typing import Self

from pydantic import Field, model_validator

from polyglossa.recipe.strict import Strict


class ExpectedStage(Strict):
    """The rows that one training stage reads in one epoch, and the texts that they are made of."""

    rows: int | None = Field(None, ge=1)
    """Training rows; None adds up `rows_by_source`."""
    rows_by_source: dict[str, int] = {}
    """Training rows of single sources, where they are known; the rest of `rows` is spread over `sources`."""
    sources: int = Field(1, ge=1)
    """Number of sources."""
    query_tokens: float = Field(gt=0)
    """Mean tokens of a query, its instruction included."""
    document_tokens: float = Field(gt=0)
    """Mean tokens of a positive or negative."""
    spread: float = Field(0.8, ge=0, le=3)
    """Standard deviation of the logarithm of lengths."""
    distinct: float = Field(1.0, gt=0, le=1)
    """Share of a step's texts that are distinct; each distinct text is embedded once."""
    negatives: float | None = Field(None, ge=0)
    """Mean negatives of a row and step over all tasks; None takes the stage's `negatives`."""
    stored_negatives: float = Field(0, ge=0)
    """Negatives that a row brings, all together: what packing and a teacher's store hold."""
    distinct_stored: float = Field(1.0, gt=0, le=1)
    """Share of the stored texts that are distinct within their source: a teacher embeds each once."""

    @model_validator(mode="after")
    def _counts(self) -> Self:
        if self.rows is None and not self.rows_by_source:
            raise ValueError("give `rows` or `rows_by_source`")
        if self.rows is not None and sum(self.rows_by_source.values()) > self.rows:
            raise ValueError("`rows_by_source` adds up to more than `rows`")
        return self

    @property
    def total(self) -> int:
        """Training rows of one epoch."""
        return self.rows if self.rows is not None else sum(self.rows_by_source.values())


class Expect(Strict):
    """What a plan counts with."""

    stages: dict[str, ExpectedStage]
    """By training stage."""
    corpus_rows: int | None = Field(None, ge=1)
    """Rows read by the corpus stage; None takes those of the largest training stage."""
    corpus_bytes: int | None = Field(None, ge=1)
    """Size of the sources as stored (bytes); None derives it from rows and lengths."""
    mined_rows: int = Field(0, ge=0)
    """Rows that are mined because they bring no negatives."""
    evaluation_texts: int = Field(0, ge=0)
    """Texts that judging one member embeds."""
    cheap_evaluation_texts: int = Field(0, ge=0)
    """Texts that judging a model embeds which nobody serves (`evaluate.untrained: cheap`)."""
    evaluation_tokens: float = Field(100, gt=0)
    """Mean tokens of these texts."""
