"""Recipe section `mine`: how hard negatives are found and chosen."""

from typing import Literal

from pydantic import Field

from polyglossa.recipe.strict import Strict


class MineConfig(Strict):
    """Exact search over all documents of a source, then a positive-aware choice."""

    model: str
    """Who embeds: `<member>@<stage>` of this recipe, or a Hugging Face name or directory."""
    sources: tuple[str, ...] | None = None
    """Sources to mine; None means every source with in-batch retrieval or bitext pairs."""
    pool: Literal["source", "language", "all"] = "source"
    """Where candidates come from: the query's source, its source and language, or everything."""
    top_k: int = Field(100, ge=1)
    """Candidates looked at per query."""
    skip: int = Field(0, ge=0)
    """Highest-ranked candidates passed over."""
    max_score: float | None = None
    """Candidates at or above this cosine are dropped; None means no ceiling."""
    relative_margin: float | None = Field(0.95, gt=0)
    """Candidates above positive − (1 − margin)·|positive| are dropped (NV-Retriever, arXiv 2407.15831)."""
    absolute_margin: float | None = None
    """Candidates above positive − margin are dropped."""
    negatives: int = Field(24, ge=1)
    """Negatives kept per query."""
    short: Literal["drop", "keep", "fill"] = "keep"
    """Queries with fewer negatives: drop the row, keep it with what there is, or fill up with random documents."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of embedding and search."""
    seed: int = 0
    """Seed of random fills."""
