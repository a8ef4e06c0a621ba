"""Recipe section `mine`: how hard negatives are found and chosen."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from polyglossa.recipe.outside import ModelReference, OutsideModel
from polyglossa.recipe.sections.outside.rescore import RescoreConfig
from polyglossa.recipe.strict import Strict, is_absent

PRESETS: dict[str, dict[str, Any]] = {
    # F2LLM v1 (arXiv 2510.02294): top 100 of the mining model without the first 5, below 0.8 and below 95 % of the
    # positive, 24 kept, queries with fewer dropped.
    "f2llm-v1": {
        "top_k": 100,
        "skip": 5,
        "max_score": 0.8,
        "relative_margin": 0.95,
        "negatives": 24,
        "short": "drop",
    },
    # NV-Retriever (arXiv 2407.15831): TopK-PercPos at 95 %, the four hardest.
    "nv-retriever": {"top_k": 100, "relative_margin": 0.95, "negatives": 4, "short": "keep"},
}


class IvfConfig(Strict):
    """Approximate search: a faiss inverted file instead of the exact product (needs `faiss-cpu` or `faiss-gpu`)."""

    lists: int = Field(1024, ge=1)
    """Cells that the documents are clustered into; about 4·√documents is usual."""
    probes: int = Field(32, ge=1)
    """Cells looked into per query."""
    recall_queries: int = Field(200, ge=1)
    """Queries, by hash, that are also searched exactly to measure the recall that the audit prints."""


class MineConfig(Strict):
    """Exact search over a pool of documents, then a choice that knows the positive."""

    model: ModelReference
    """Who embeds: `<member>@<stage>` of this recipe (`@backbone`: before any training), or a Hugging Face or
    sentence-transformers name or directory, or a section `{endpoint: URL, model: NAME}`."""
    refresh: dict[str, ModelReference] = {}
    """Training stage → model that mines anew for it, instead of `model`."""
    preset: Literal["f2llm-v1", "nv-retriever"] | None = None
    """Published settings to start from; a field given beside it wins."""
    sources: tuple[str, ...] | None = None
    """Sources to mine; None means every source with retrieval or bitext pairs. Others pass through as they are."""
    replace: bool = False
    """Mine rows that bring negatives, too, in place of theirs; False keeps theirs."""
    max_queries: int | None = Field(None, ge=1)
    """Most rows mined per source: those that a training stage of the same `seed` reads first, so that its
    `max_examples` finds negatives in every row; the others pass through without. None means all."""
    pool: Literal["source", "language", "all"] = "source"
    """Where candidates come from: the row's source, its source in the positive's language, or all documents."""
    max_candidates: int | None = Field(None, ge=1)
    """Most documents of a pool, chosen by hash. None means all."""
    prompts: Literal["instruction", "model", "none"] = "instruction"
    """What stands before a query: the row's instruction as the family renders it, or the model's own `query` and
    `document` prompts, or nothing."""
    query_prompt: str | None = None
    """Text put before every query, in place of what `prompts` gives."""
    document_prompt: str | None = None
    """Text put before every document, in place of what `prompts` gives."""
    max_tokens: int | None = Field(None, ge=8)
    """Longest text that is embedded (tokens); None means the model's own limit."""
    top_k: int = Field(100, ge=1)
    """Candidates looked at per query: the rank window. Known positives take no place in it."""
    skip: int = Field(0, ge=0)
    """Highest-ranked candidates passed over."""
    max_score: float | None = None
    """Candidates at or above this cosine are dropped; None means no ceiling."""
    relative_margin: float | None = Field(0.95, gt=0)
    """Candidates above positive − (1 − margin)·|positive| are dropped (NV-Retriever, arXiv 2407.15831). 0.95 suits a
    strong mining model; one from scratch wanted 0.7 (`make bench-mined`)."""
    absolute_margin: float | None = None
    """Candidates above positive − margin are dropped."""
    near_copy: float | None = Field(0.8, gt=0, le=1)
    """Candidates whose character 5-grams overlap a positive's by this Jaccard share are dropped; None keeps them."""
    consistency: int | None = Field(None, ge=1)
    """Rows whose positive does not rank within it are dropped; None keeps all."""
    negatives: int = Field(24, ge=1)
    """Negatives kept per query."""
    short: Literal["drop", "keep", "fill"] = "keep"
    """Queries with fewer negatives: drop the row, keep it with what there is, or fill up with random documents."""
    dtype: Literal["float32", "bfloat16"] | None = Field(None, exclude_if=is_absent)
    """Precision of embedding and search: at least this one (bfloat16 is computed where the device gains by it). None
    takes bfloat16 on GPUs and float32 on processors."""
    approximate: IvfConfig | None = None
    """Search approximately; None searches exactly."""
    rescore: RescoreConfig | None = Field(None, exclude_if=is_absent)
    """A second opinion on what was found, by a model that reads query and document together; None takes none."""
    seed: int = 0
    """Seed of random fills and of choices by hash."""

    @model_validator(mode="before")
    @classmethod
    def _start_from_preset(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        preset = PRESETS.get(data.get("preset") or "", {})
        # Once a validator has seen them, JSON arrays are lists, which strict fields refuse.
        return preset | {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}

    @model_validator(mode="after")
    def _endpoint_cuts_its_own_texts(self) -> Self:
        models = (self.model, *self.refresh.values())
        asked = [one.endpoint for one in models if isinstance(one, OutsideModel) and one.endpoint is not None]
        if asked and self.max_tokens is not None:
            raise ValueError(f"max_tokens: the endpoint {asked[0]} cuts texts itself; leave it out")
        return self

    @model_validator(mode="after")
    def _window_holds_negatives(self) -> Self:
        if self.skip + self.negatives > self.top_k:
            raise ValueError(
                f"top_k = {self.top_k} is smaller than skip + negatives = {self.skip} + {self.negatives}; widen top_k"
            )
        return self

    def for_stage(self, stage: str) -> Self:
        """Return the settings that mine for a training stage: `refresh` resolved to a model."""
        settings = {**self.model_dump(exclude={"refresh"}), "model": self.refresh.get(stage, self.model)}
        return type(self).model_validate(settings)
