"""Who re-scores pairs: one interface for a cross-encoder that runs here and a judge behind an endpoint."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from polyglossa.recipe.sections.outside.rescore import RescoreConfig


class PairScorer(Protocol):
    """Something that reads a query and a document together and gives a number."""

    @property
    def fingerprint(self) -> str:
        """Names all that shapes a score besides the two texts."""

    def score(self, queries: Sequence[str], documents: Sequence[str]) -> Iterator[tuple[int, float]]:
        """Score pairs; what was scored before a failure is yielded before it is raised.

        Yields:
            (position of the pair, score); NaN where the model gives no number for this pair.

        Raises:
            EndpointError: an endpoint stopped answering.
        """


def open_scorer(config: RescoreConfig, *, dtype: str, device: str) -> PairScorer:
    """Open the model of a recipe.

    Args:
        config: names it.
        dtype: precision of a cross-encoder.
        device: torch device of a cross-encoder.

    Raises:
        DataError: nothing usable is there, or it gives several numbers a pair.
        UserError: an endpoint's address is none.
    """
    if config.judge is not None:
        from polyglossa.mine.rescore.judge import Judge

        return Judge.of(config, config.judge)
    from polyglossa.mine.rescore.cross_encoder import CrossEncoderScorer

    path = config.model if isinstance(config.model, str) else config.model.model
    return CrossEncoderScorer(path, dtype=dtype, device=device, max_tokens=config.max_tokens)
