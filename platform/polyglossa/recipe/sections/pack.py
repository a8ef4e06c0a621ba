"""Configuration of a packed corpus: the part of a training stage that decides which tokens exist."""

from typing import Literal, Self

from pydantic import Field

from polyglossa.recipe.sections.train import StageConfig
from polyglossa.recipe.strict import Strict, is_absent, is_off


class PackConfig(Strict):
    """Token bundles of one (sources, rendering, longest text); stages that agree on these share them."""

    sources: tuple[str, ...] | None = None
    """Sources packed; None means all."""
    instructions: bool = False
    """Whether texts are rendered behind their row's instructions."""
    prompts: Literal["model"] | None = Field(None, exclude_if=is_absent)
    """Whether texts are rendered behind the prompts that the backbone pins."""
    hard_negatives: bool = False
    """Whether negatives are packed too."""
    max_tokens: int = Field(1024, ge=8)
    """Longest text (tokens, EOS included)."""
    max_examples: int | None = Field(None, ge=1)
    """Most training examples of each source, chosen by hash; None means all."""
    bundle_rows: int = Field(256, ge=1)
    """Examples of a bundle."""
    seed: int = 0
    """Salt of the hash that shuffles a source's rows into bundles."""
    scores: bool = Field(False, exclude_if=is_off)
    """Whether the scores of pairs are packed."""
    texts: bool = Field(False, exclude_if=is_off)
    """Whether bundles hold the texts themselves instead of tokens: for teachers with prompts and tokens of their own.
    Files, bundles and the places of texts in them are those of the tokens' pack."""

    @classmethod
    def of(cls, stage: StageConfig) -> Self:
        """Take what a training stage needs of its data."""
        return cls(
            sources=stage.sources,
            instructions=stage.instructions,
            prompts=stage.prompts,
            hard_negatives=stage.hard_negatives,
            scores=stage.scores,
            max_tokens=stage.max_tokens,
            max_examples=stage.max_examples,
        )

    @classmethod
    def of_texts(cls, stage: StageConfig) -> Self:
        """Take what decides which texts a training stage reads; they are whole, so its longest text is no matter."""
        whole = {"max_tokens": cls.model_fields["max_tokens"].default, "scores": False, "texts": True}
        return cls.of(stage).changed(**whole)
