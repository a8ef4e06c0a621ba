"""Recipe key `members.*.prune`: how a member is cut out of another one."""

from typing import Literal, Self

from pydantic import Field

from polyglossa.recipe.strict import Strict


class VocabularyConfig(Strict):
    """A smaller token table: the tokens that the corpus needs; bytes and special tokens always stay."""

    tokens: int = Field(ge=260)
    """Rows of the student's table, special tokens included."""
    max_growth: float = Field(0.1, ge=0)
    """Most that any language's tokens per character may grow, relative to the parent's tokenizer."""
    texts_per_language: int = Field(2000, ge=1)
    """Texts of the corpus that a language's needs are measured on, at most."""


class PruneStage(Strict):
    """What shapes a pruned model, its parent and the calibration corpus apart."""

    hidden: int = Field(ge=8)
    """Residual channels that stay; also the embedding width."""
    mlp: int = Field(ge=8)
    """MLP channels that stay in each layer."""
    layers: int = Field(ge=1)
    """Layers that stay."""
    kv_heads: int | None = Field(None, ge=1)
    """Key/value heads that stay in each layer, with their query heads; None keeps all, as published."""
    criterion: Literal["l2", "mean_abs", "variance", "prefix", "random"] = "l2"
    """Importance of channels and heads by size of activation; `prefix` keeps the first residual channels and takes l2
    for the rest; `random` is the control of an ablation."""
    depth: Literal["first", "uniform", "block_influence"] = "first"
    """Which layers stay: the first n (published), n spread evenly, or the n that turn the residual stream most."""
    vocabulary: VocabularyConfig | None = None
    """Smaller token table; None keeps the parent's tokenizer, as published."""
    calibration_rows: int = Field(512, ge=1)
    """Examples of the packed corpus that importance is measured on (query and positive of each)."""
    seed: int = 0
    """Seed of the samples and of `random`."""

    @classmethod
    def of(cls, config: "PruneConfig") -> Self:
        """Take what shapes the artifact: all but the parent's name, which its own hash stands for."""
        return cls.model_validate(config.model_dump(exclude={"from_"}))


class PruneConfig(PruneStage):
    """How a member is cut out of another one."""

    from_: str = Field(alias="from")
    """`<member>@<stage>`: the trained model that is pruned."""
