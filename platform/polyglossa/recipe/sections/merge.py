"""Averages of several models: what is merged, how, and what it is judged by. Recipe key `members.*.merge`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from polyglossa.recipe.strict import Strict, is_absent


class MergeConfig(Strict):
    """How models of one shape and tokenizer become one."""

    method: Literal["linear", "slerp", "greedy_soup"] = "linear"
    """Weighted mean; spherical mean; or a mean that takes models in order of quality while it gets no worse
    (Wortsman et al. 2022, arXiv 2203.05482)."""
    weights: tuple[float, ...] | None = None
    """Share of each model, in order; None weighs all alike. Not for `greedy_soup`, which chooses for itself."""
    late_checkpoints: bool = True
    """Average the late checkpoints too that the trainings kept (`training.*.late_checkpoints`); each comes before the
    model that its training ended with."""
    validation_queries: int = Field(2000, ge=1)
    """Queries of each source's validation rows that models are judged on, at most."""
    keep: Literal["better", "always"] | None = Field(None, exclude_if=is_absent)
    """Whether an average is kept only if it is better on those rows than each model (None, `better`), or `always`: what
    an average with the model as it came wins back elsewhere is not to be seen in them."""

    @model_validator(mode="after")
    def _weights_are_shares(self) -> Self:
        if self.weights is not None and self.method == "greedy_soup":
            raise ValueError("weights: greedy_soup chooses its own; leave them out")
        if self.weights is not None and (min(self.weights, default=0) < 0 or sum(self.weights) <= 0):
            raise ValueError(f"weights: {list(self.weights)} are no shares; give numbers ≥ 0 with a sum > 0")
        return self


class MemberMerge(MergeConfig):
    """How a member's final model, `<member>@merge`, is averaged; it is kept only if it is better than each model."""

    models: tuple[str, ...] = ()
    """`<member>@<stage>`: models beside the one that the member's own last stage ends with."""

    def settled(self) -> MergeConfig:
        """Take what shapes the artifact: all but the models' names, which their own hashes stand for."""
        return MergeConfig.model_validate(self.model_dump(exclude={"models"}))
