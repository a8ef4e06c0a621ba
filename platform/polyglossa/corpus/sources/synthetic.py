"""Sources that a language model wrote: the stage `synthesize` made their pairs, which are read like any other's."""

from collections.abc import Iterator, Mapping

from polyglossa.artifact import Artifact
from polyglossa.corpus.sources.source import CorpusSource, Reading, Shard
from polyglossa.errors import ArtifactError
from polyglossa.recipe.sections.corpus import CorpusConfig
from polyglossa.recipe.sections.sources import PairColumns, PairSource, Source, SyntheticSource

_COLUMNS = PairColumns(query="query", positive="positive", language="language", group="origin")
"""Pairs of one origin mean the same, so they are never each other's negatives."""


class Synthetic(CorpusSource[SyntheticSource]):
    """A source that is not written yet: it has no files of its own."""

    def shards(self, index: int) -> list[Shard]:
        """Read nothing: its pairs lie in an artifact that the corpus's key holds already."""
        return []

    def read(self, shard: Shard) -> Iterator[Reading]:
        """Never be read: `as_written` puts the source of its pairs in its place."""
        raise ArtifactError(f"corpus source {self.entry.name!r}: is not written yet.")


def as_written(config: CorpusConfig, inputs: Mapping[str, Artifact]) -> CorpusConfig:
    """Replace every synthetic source by the source of the pairs that were written for it.

    Args:
        config: of the whole corpus.
        inputs: `synthetic:<source>` for each of them.

    Raises:
        ArtifactError: the pairs of one are not among the inputs.
    """
    if not any(isinstance(source, SyntheticSource) for source in config.sources):
        return config
    sources = tuple(_written(source, inputs) for source in config.sources)
    return CorpusConfig.model_validate({**dict(config), "sources": sources})


def _written(source: Source, inputs: Mapping[str, Artifact]) -> Source:
    if not isinstance(source, SyntheticSource):
        return source
    role = f"synthetic:{source.name}"
    if role not in inputs:
        raise ArtifactError(f"corpus source {source.name!r}: its pairs are not written. Run the stage `synthesize`.")
    return PairSource(
        kind="pairs",
        name=source.name,
        files=(inputs[role].at("pairs", "part-00000.parquet"),),
        task=source.task,
        columns=_COLUMNS,
        max_queries=source.max_queries,
        max_rejected_share=source.max_rejected_share,
    )


SOURCE = Synthetic
