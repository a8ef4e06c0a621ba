"""Sources of one sentence in many languages: a row per sentence and language, or a column per language."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial

import pyarrow as pa

from polyglossa.corpus.clean.language import canonical, named
from polyglossa.corpus.sources.candidates import candidates_by_split
from polyglossa.corpus.sources.source import Reading, Shard
from polyglossa.corpus.sources.table_files import TableFiles, column_or_none, gather_part, notices_of
from polyglossa.corpus.sources.translations import Translation, draw, pairs_of, translation_table
from polyglossa.readers.rows import Bad
from polyglossa.readers.tables import Batch, Columns
from polyglossa.recipe.sections.sources import BitextSource


class Bitext(TableFiles[BitextSource]):
    """Sentences and their translations."""

    @property
    def whole(self) -> bool:
        """Whether the translations of a sentence lie in different rows."""
        return self.entry.layout == "long"

    def read(self, shard: Shard) -> Iterator[Reading]:
        """Read a batch at a time where a row holds all translations, else all rows of the part at once."""
        if self.whole:
            yield self._read_long(shard)
            return
        for batch in self.batches(shard, wide_bitext_columns(self.entry)):
            table, bad = wide_bitext_candidates(batch, self.entry, self.config.seed)
            yield Reading(table, [*batch.bad, *bad], notices_of(batch))

    def _read_long(self, shard: Shard) -> Reading:
        table, unreadable, notices = gather_part(self, shard, long_bitext_columns(self.entry), self.entry.index)
        candidates, unpaired = long_bitext_candidates(table, self.entry, self.config.seed)
        return Reading(candidates, [*unreadable, *unpaired], notices)


def long_bitext_columns(source: BitextSource) -> Columns:
    """What a reader must deliver for a row per sentence and language."""
    keys = [source.index, source.language_column, source.script_column, source.split]
    return Columns({source.text: "text", **dict.fromkeys([name for name in keys if name], "key")}, {})


def wide_bitext_columns(source: BitextSource) -> Columns:
    """What a reader must deliver for a column per language."""
    return Columns({**dict.fromkeys(source.languages, "text"), **({source.split: "key"} if source.split else {})}, {})


def long_bitext_candidates(table: pa.Table, source: BitextSource, seed: int) -> tuple[pa.Table, list[Bad]]:
    """Pair the translations of each sentence; a text without a partner is bad (`no_partner`)."""
    return candidates_by_split(table, source.split, partial(_long_pairs, source, seed))


def _long_pairs(source: BitextSource, seed: int, table: pa.Table, split: str | None) -> tuple[pa.Table, list[Bad]]:
    script = column_or_none(table, source.script_column)
    columns = [table[source.index], table[source.language_column], table[source.text]]
    things: defaultdict[str, list[Translation]] = defaultdict(list)
    bad: list[Bad] = []
    for index, language, text, written in zip(
        *(column.to_pylist() for column in columns),
        script.to_pylist() if script is not None else [None] * table.num_rows,
        strict=True,
    ):
        if not (index and language and text):
            bad.append(Bad("empty", f"{index}\t{language}\t{text}"))
        else:
            things[index].append(Translation(index, named(language), written, text))
    return _pair(list(things.values()), source, seed, bad, split)


def wide_bitext_candidates(batch: Batch, source: BitextSource, seed: int) -> tuple[pa.Table, list[Bad]]:
    """Pair the translations of each row."""
    return candidates_by_split(batch.table, source.split, partial(_wide_pairs, source, seed))


def _wide_pairs(source: BitextSource, seed: int, table: pa.Table, split: str | None) -> tuple[pa.Table, list[Bad]]:
    things: list[list[Translation]] = []
    for row in table.to_pylist():
        texts = {named(language): row[column] for column, language in source.languages.items() if row[column]}
        thing = f"{draw(seed, *texts.values()):016x}"
        things.append([Translation(thing, language, None, text) for language, text in texts.items()])
    return _pair(things, source, seed, [], split)


def _pair(
    things: Sequence[Sequence[Translation]], source: BitextSource, seed: int, bad: list[Bad], split: str | None
) -> tuple[pa.Table, list[Bad]]:
    pairs: list[tuple[Translation, Translation]] = []
    for members in things:
        found = list(pairs_of(sorted(set(members), key=_by_language), _pivot(members, source), source.partners, seed))
        pairs += found
        if not found:
            bad.append(Bad("no_partner", "\t".join(f"{member.language}:{member.text}"[:200] for member in members)))
    return translation_table(pairs, None if split is None else [split] * len(pairs), source.name), bad


def _by_language(member: Translation) -> tuple[str, str, str]:
    return member.language, member.script or "", member.text


def _pivot(members: Sequence[Translation], source: BitextSource) -> str | None:
    """The pivot as the table spells it (`eng`, `en`, `eng_Latn`)."""
    if source.pivot is None:
        return None
    pivot = canonical(source.pivot)[0]
    return next((member.language for member in members if canonical(member.language)[0] == pivot), None)


SOURCE = Bitext
