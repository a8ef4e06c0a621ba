"""Cut the sources of a recipe into shards, and read a shard as batches of candidates; kinds are in `source.py`."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.corpus.clean.language import is_language
from polyglossa.corpus.sources.source import Reading, Shard, open_corpus_source
from polyglossa.errors import DataError
from polyglossa.readers.rows import SHOWN, Bad
from polyglossa.recipe.sections.corpus import CorpusConfig
from polyglossa.recipe.sections.sources import Source


def plan_shards(config: CorpusConfig) -> list[Shard]:
    """Cut every source of the recipe into shards.

    Raises:
        DataError: files are missing or of an unknown format, or a language of the recipe is unknown.
    """
    for entry in config.sources:
        _check_languages(entry)
    return [
        shard for index, entry in enumerate(config.sources) for shard in open_corpus_source(entry, config).shards(index)
    ]


def _check_languages(entry: Source) -> None:
    for code in entry.given_languages:
        if not is_language(code):
            raise DataError(
                f"corpus source {entry.name!r}: language {code!r} is not known. Give its ISO 639 code (`deu`, `de`), "
                "a tag (`zh-Hans`) or its English name."
            )


def read_shard(shard: Shard, config: CorpusConfig) -> Iterator[Reading]:
    """Read a shard, a batch at a time where its layout allows.

    Raises:
        DataError: a column of the recipe is not in the data.
    """
    source = open_corpus_source(config.sources[shard.source], config)
    for reading in source.read(shard):
        yield _with_known_languages(reading) if source.checks_languages else reading


def _with_known_languages(reading: Reading) -> Reading:
    """Reject candidates whose given language is unknown: it would stand beside its own code, or be taken as right."""
    table = reading.candidates
    unknown = [
        code
        for name in ("query_language", "positive_language")
        for code in pc.unique(table[name]).drop_null().to_pylist()
        if not is_language(code)
    ]
    if not unknown:
        return reading
    codes = pa.array(unknown, pa.string())
    lost = pc.or_(pc.is_in(table["query_language"], codes), pc.is_in(table["positive_language"], codes))
    shown = table.filter(lost).select(["query_language", "query"]).to_pylist()
    bad = [Bad("unknown_language", f"{row['query_language']}\t{row['query']}"[:SHOWN]) for row in shown]
    return Reading(table.filter(pc.invert(lost)), [*reading.bad, *bad], reading.notices)
