"""Choose what is written about: of each language so many rows of the files, by hash. Every row is accounted for.

Memory holds the chosen rows alone; of files of any size those with the smallest hash stay.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

import xxhash
from langcodes import tag_is_valid

from polyglossa.errors import DataError, PolyglossaError
from polyglossa.readers.files import list_files
from polyglossa.readers.pieces import cut
from polyglossa.readers.rows import Bad
from polyglossa.readers.survey import format_of
from polyglossa.readers.tables import Columns, read_piece
from polyglossa.recipe.sections.outside.synthetic import WrittenQuestions
from polyglossa.recipe.sections.sources import SyntheticSource
from polyglossa.records import row_id

_MAX_UNREADABLE_SHARE = 0.1
_FEW = 100  # rows that are kept of what cannot be read


@dataclass(frozen=True, order=True)
class Chosen:
    """A row that is written about."""

    rank: int
    """Hash by which it was chosen; smaller ones come first."""
    texts: tuple[str, ...]
    """The passage, or query and positive."""
    language: str

    @property
    def origin(self) -> str:
        """Name of the row, by its texts."""
        return row_id(*self.texts).hex()


@dataclass
class Selection:
    """What was chosen of a source's files, and what became of the other rows."""

    rows: list[Chosen] = field(default_factory=list)
    rows_in: int = 0
    left: Counter[str] = field(default_factory=Counter)
    """Reason → rows that are not written about."""
    bad: list[Bad] = field(default_factory=list)
    """The first rows that could not be read."""


def select_rows(source: SyntheticSource) -> Selection:
    """Read a source's files and choose.

    Raises:
        DataError: files are missing or cannot be read, or hold nothing to write about; a language is none.
        PolyglossaError: a row is unaccounted for.
    """
    for code in source.given_languages:
        if not is_code(code):
            raise DataError(
                f"corpus source {source.name!r}: language {code!r} is not known; give its ISO 639 code (`swh`, `sw`)."
            )
    found = Selection()
    heaps: defaultdict[str, list[tuple[int, tuple[str, ...]]]] = defaultdict(list)
    held: set[tuple[str, tuple[str, ...]]] = set()
    for texts, language in _texts(source, found):
        if not is_code(language) or not all(text.strip() for text in texts):
            found.left["empty_text" if is_code(language) else "unknown_language"] += 1
            continue
        if (language, texts) in held:
            found.left["duplicate"] += 1
            continue
        rank = xxhash.xxh3_64_intdigest("\x1f".join((str(source.seed), *texts)).encode("utf-8", "replace"))
        heap = heaps[language]
        heapq.heappush(heap, (-rank, texts))
        held.add((language, texts))
        if len(heap) > source.per_language:
            held.remove((language, heapq.heappop(heap)[1]))
            found.left["over_cap"] += 1
    found.rows = sorted(
        Chosen(-rank, texts, language) for language, heap in sorted(heaps.items()) for rank, texts in heap
    )
    _check(source, found)
    if found.rows_in != len(found.rows) + found.left.total():
        raise PolyglossaError(
            f"synthesize: {found.rows_in} rows in, but {len(found.rows)} chosen and {found.left.total()} left."
        )
    return found


@cache
def is_code(code: str) -> bool:
    """Tell whether a language is named by its code: what the corpus would not read is not written about."""
    return tag_is_valid(code.strip().replace("_", "-"))


def _check(source: SyntheticSource, found: Selection) -> None:
    unreadable = found.left["unreadable"]
    limit = _MAX_UNREADABLE_SHARE if source.max_rejected_share is None else source.max_rejected_share
    if unreadable > limit * found.rows_in:
        reasons = ", ".join(sorted({bad.reason for bad in found.bad}))
        raise DataError(
            f"corpus source {source.name!r}: {unreadable:,} of {found.rows_in:,} rows cannot be read ({reasons}); at "
            f"most a share of {limit} may. Mend the data, or raise `max_rejected_share`."
        )
    if not found.rows:
        raise DataError(f"corpus source {source.name!r}: its files hold no row to write about; nothing was asked.")


def _texts(source: SyntheticSource, found: Selection) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the texts of every readable row and its language, and count the others."""
    columns = source.columns
    asks = isinstance(source.make, WrittenQuestions)
    names = (columns.passage,) if asks else (columns.query, columns.positive)
    kinds = dict.fromkeys(names, "text") | ({columns.language: "key"} if columns.language else {})
    wanted = Columns(kinds, {})  # type: ignore[arg-type]  # values are Cell names
    for file in list_files(source.files, f"corpus source {source.name!r}"):
        kind = format_of(file, source.format)
        for piece in cut(file, kind):
            for batch in read_piece(piece, kind, wanted, source.delimiter):
                found.rows_in += len(batch.table) + len(batch.bad)
                found.left["unreadable"] += len(batch.bad)
                found.bad += batch.bad[: max(0, _FEW - len(found.bad))]
                texts = zip(*(batch.table[name].to_pylist() for name in names), strict=True)
                languages = (
                    batch.table[columns.language].to_pylist()
                    if columns.language
                    else [source.language] * len(batch.table)
                )
                for own, language in zip(texts, languages, strict=True):
                    yield tuple(text or "" for text in own), language or ""
