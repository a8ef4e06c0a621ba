"""Cutting sources into shards, and reading a shard as batches of candidates.

A shard is what one task reads: some bytes or row groups of a file, a part (by hash) of a source whose rows belong
together, or an embedded source. Shards depend on files and recipe alone, never on workers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.corpus.clean.language import is_language
from polyglossa.corpus.sources import forms
from polyglossa.corpus.sources.beir import beir_candidates, beir_files
from polyglossa.corpus.sources.translations import draw
from polyglossa.errors import DataError
from polyglossa.readers.files import list_files, under
from polyglossa.readers.pieces import PIECE_BYTES, Piece, cut
from polyglossa.readers.rows import SHOWN, Bad
from polyglossa.readers.survey import format_of
from polyglossa.readers.tables import Batch, Columns, batch_of, read_piece
from polyglossa.recipe.sections.corpus import CorpusConfig
from polyglossa.recipe.sections.sources import (  # fmt: skip
    BeirSource,
    BitextSource,
    CldrSource,
    DatasetSource,
    F2llmSource,
    FileSource,
    LabelledSource,
    PairSource,
    PydocSource,
)

_PART_BYTES = 256 * 2**20
"""Sources whose rows belong together are split into parts of about this size."""
_DATASET_ROWS = 100_000


@dataclass(frozen=True)
class Shard:
    """What one task reads."""

    source: int
    """Index of the recipe entry."""
    pieces: tuple[Piece, ...] = ()
    part: int = 0
    parts: int = 1
    size: int = 0
    """Bytes as stored, about."""

    def identity(self) -> dict[str, Any]:
        """What tells this shard from any other, and from itself before its files changed."""
        return asdict(self)


@dataclass(frozen=True)
class Reading:
    """Some rows of a shard: candidates, and rows that could not be read."""

    candidates: pa.Table
    bad: Sequence[Bad]
    notices: Sequence[str] = ()
    """What a person should know of the files."""


def plan_shards(config: CorpusConfig) -> list[Shard]:
    """Cut every source of the recipe into shards.

    Raises:
        DataError: files are missing or of an unknown format, or a language of the recipe is unknown.
    """
    for source in config.sources:
        _check_languages(source)
    return [shard for index, source in enumerate(config.sources) for shard in _shards(index, source, config.data)]


def _check_languages(source: Any) -> None:
    given = [
        getattr(source, "language", None),
        *(source.languages.values() if isinstance(source, BitextSource) else ()),
    ]
    for code in given:
        if code is not None and not is_language(code):
            raise DataError(
                f"corpus source {source.name!r}: language {code!r} is not known. Give its ISO 639 code (`deu`, `de`), "
                "a tag (`zh-Hans`) or its English name."
            )


def _shards(index: int, source: Any, data: str) -> list[Shard]:
    if isinstance(source, CldrSource | PydocSource):
        return [Shard(index, size=32 * 2**20)]
    if isinstance(source, DatasetSource):
        rows = len(_dataset(source, data))
        return [Shard(index, part=p, parts=-(-rows // _DATASET_ROWS)) for p in range(-(-rows // _DATASET_ROWS))]
    if isinstance(source, BeirSource):
        files = sorted(beir_files(source, data).values())
        return _parts(index, [Piece(file) for file in files], sum(file.size for file in files))
    files = list_files(source.files, source.name, data)
    kinds = {file: format_of(file, source.format) for file in files}
    pieces = [piece for file in files for piece in cut(file, kinds[file])]
    if isinstance(source, LabelledSource) or (isinstance(source, BitextSource) and source.layout == "long"):
        return _parts(index, pieces, sum(file.size for file in files))
    return [Shard(index, (piece,), size=min(piece.file.size, PIECE_BYTES)) for piece in pieces]


def _parts(index: int, pieces: Sequence[Piece], size: int) -> list[Shard]:
    parts = -(-size // _PART_BYTES)
    return [Shard(index, tuple(pieces), part, parts, size // parts) for part in range(parts)]


def read_shard(shard: Shard, config: CorpusConfig) -> Iterator[Reading]:
    """Read a shard of a source that is read from somewhere, a batch at a time where its layout allows.

    Raises:
        DataError: a column of the recipe is not in the data.
    """
    for reading in _readings(shard, config):
        yield _with_known_languages(reading)


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


def _readings(shard: Shard, config: CorpusConfig) -> Iterator[Reading]:
    source = config.sources[shard.source]
    if isinstance(source, BeirSource):
        yield Reading(*beir_candidates(source, shard.part, shard.parts, config.data))
    elif isinstance(source, DatasetSource):
        yield from _read_dataset(shard, source, config.data)
    elif isinstance(source, PairSource):
        for batch in _batches(shard, source, forms.pair_columns(source.columns)):
            yield _of_pairs(batch, source)
    elif isinstance(source, F2llmSource):
        yield from _read_f2llm(shard, source)
    elif isinstance(source, BitextSource | LabelledSource):
        yield from _read_related(shard, source, config.seed)


def _batches(shard: Shard, source: FileSource, columns: Columns) -> Iterator[Batch]:
    for piece in shard.pieces:
        yield from read_piece(piece, format_of(piece.file, source.format), columns, source.delimiter)


def _of_pairs(batch: Batch, source: PairSource | DatasetSource) -> Reading:
    candidates, bad = forms.pair_candidates(batch, source)
    return Reading(candidates, [*batch.bad, *bad], _said(batch))


def _said(batch: Batch) -> tuple[str, ...]:
    return (batch.notice,) if batch.notice else ()


def _read_f2llm(shard: Shard, source: F2llmSource) -> Iterator[Reading]:
    for batch in _batches(shard, source, forms.F2LLM_COLUMNS):
        first, *others = (batch.table[name] for name in forms.F2LLM_NEGATIVES)
        two_way = first.null_count < len(first) and all(column.null_count == len(column) for column in others)
        yield Reading(forms.f2llm_candidates(batch, source, two_way), batch.bad, _said(batch))


def _read_related(shard: Shard, source: BitextSource | LabelledSource, seed: int) -> Iterator[Reading]:
    """Layouts whose rows belong together: all rows of the shard's part at once."""
    if isinstance(source, BitextSource) and source.layout == "wide":
        for batch in _batches(shard, source, forms.wide_bitext_columns(source)):
            table, bad = forms.wide_bitext_candidates(batch, source, seed)
            yield Reading(table, [*batch.bad, *bad], _said(batch))
        return
    if isinstance(source, BitextSource):
        columns, key = forms.long_bitext_columns(source), source.index
    else:
        columns, key = forms.labelled_columns(source), source.text
    unreadable: list[Bad] = []
    notices: list[str] = []
    tables: list[pa.Table] = []
    for batch in _batches(shard, source, columns):
        unreadable += batch.bad if shard.part == 0 else ()
        notices += _said(batch)
        tables.append(_part_of(batch.table, key, shard))
    table = pa.concat_tables(tables)
    if isinstance(source, BitextSource):
        candidates, unpaired = forms.long_bitext_candidates(table, source, seed)
    else:
        candidates, unpaired = forms.labelled_candidates(table, source, seed)
    yield Reading(candidates, [*unreadable, *unpaired], notices)


def _part_of(table: pa.Table, key: str, shard: Shard) -> pa.Table:
    if shard.parts == 1:
        return table
    mine = [draw(0, value or "") % shard.parts == shard.part for value in table[key].to_pylist()]
    return table.filter(pa.array(mine, pa.bool_()))


def _dataset(source: DatasetSource, data: str) -> Any:
    """Open a data set: a directory of `save_to_disk`, or anything that `load_dataset` takes."""
    import datasets

    folder = Path(under(data, source.dataset))
    try:
        if any((folder / name).exists() for name in ("state.json", "dataset_dict.json")):
            loaded = datasets.load_from_disk(str(folder))
            found = loaded[source.split] if isinstance(loaded, datasets.DatasetDict) else loaded
        else:
            name = str(folder) if folder.exists() else source.dataset
            found = datasets.load_dataset(name, source.config, split=source.split, revision=source.revision)
    except (OSError, ValueError, KeyError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"corpus source {source.name!r}: data set {source.dataset} cannot be opened: {first}") from None
    return found.with_format("arrow")


def _read_dataset(shard: Shard, source: DatasetSource, data: str) -> Iterator[Reading]:
    found = _dataset(source, data)
    columns = forms.pair_columns(source.columns)
    first = shard.part * _DATASET_ROWS
    for start in range(first, min(first + _DATASET_ROWS, len(found)), 8192):
        table = found[start : min(start + 8192, first + _DATASET_ROWS)]
        batch = batch_of(table, columns, f"data set {source.dataset}")
        yield _of_pairs(batch, source)
