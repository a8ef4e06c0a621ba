"""Look at files of data: their columns, first rows, how many rows there are and how long texts are.

Files are read by the corpus's own reader, so that what is seen here is what a run will see.
"""

import glob
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from polyglossa.errors import DataError, list_names
from polyglossa.readers.files import File
from polyglossa.readers.formats import BY_SUFFIX
from polyglossa.readers.head import json_shape, read_head
from polyglossa.readers.survey import Survey, survey
from polyglossa.recipe.sections.corpus import CorpusConfig
from polyglossa.scaffold.beginning import check_encoding, check_header
from polyglossa.scaffold.nested import flatten_program, rows_inside

_ROWS = 300
DOCUMENT_SUFFIXES = (".md", ".markdown", ".txt", ".rst")
_WRAPPED_ROWS = 3  # a file of so few rows, one of which holds more, is an object around its rows
_SHOWN_COLUMNS = 6
_MAX_REJECTED_SHARE = float(CorpusConfig.model_fields["max_rejected_share"].default)


@dataclass(frozen=True)
class Look:
    """What a file, or files of one layout, hold."""

    name: str
    """Name of a source made of them."""
    paths: tuple[str, ...]
    """As a recipe's `files` names them."""
    rows: int
    columns: dict[str, list[Any]]
    """Values of the first rows by column."""
    delimiter: str | None = None
    """Of CSV and TSV, where it is another than the suffix says."""
    notices: tuple[str, ...] = ()
    """What a person should know of the files."""
    is_estimate: bool = False
    """Whether rows are estimated from the size of a large file."""
    flattened_by: str | None = None
    """Command that makes columns of the texts inside objects, where rows hold any."""

    def texts(self, column: str) -> list[str]:
        """Texts of a column's first rows, lists laid open, nothing empty."""
        found: list[str] = []
        for value in self.columns.get(column, []):
            found += [
                text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str) and text
            ]
        return found

    def mean_characters(self, column: str) -> float:
        """Mean length of a column's texts; 0 where it has none."""
        texts = self.texts(column)
        return sum(map(len, texts)) / len(texts) if texts else 0.0


def look(paths: list[Path]) -> list[Look]:
    """Look at files and folders; files of one folder with equal columns become one.

    Raises:
        DataError: nothing readable is there.
    """
    looks: dict[tuple[str, ...], Look] = {}
    for path in paths:
        for file in _files(path):
            one = _look(file)
            key = (str(file.parent if path.is_dir() else file), str(one.delimiter), *one.columns)
            looks[key] = _join(looks[key], one, file.parent.name) if key in looks else one
    if not looks:
        known = ", ".join(BY_SUFFIX)
        raise DataError(f"{list_names([*map(str, paths)])}: no file to read; give {known} files or folders.")
    return list(looks.values())


def document_files(paths: list[Path]) -> list[Path]:
    """List the text files under some paths: documents without queries, that no table holds."""
    found = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
    return [file for file in found if file.is_file() and file.suffix.lower() in DOCUMENT_SUFFIXES]


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise DataError(f"{path}: is not there. Give files or folders of data.")
    if path.is_file():
        return [path]
    found = (file for file in sorted(path.rglob("*")) if file.is_file() and not file.name.startswith((".", "_")))
    return [file for file in found if File.at(file).format is not None]


def _look(path: Path) -> Look:
    file = File.at(path)
    if file.format not in (None, "parquet"):
        check_encoding(file)
    found = survey(file, _ROWS)
    _check_unwrapped(path, found)
    if file.format in ("csv", "tsv"):
        check_header(file, found.columns)
    lost, total = found.bad.total(), found.rows + found.bad.total()
    told = ", ".join(f"{reason} {count:,}" for reason, count in sorted(found.bad.items()))
    if lost > _MAX_REJECTED_SHARE * total:
        raise DataError(
            f"{path}: {lost:,} of {total:,} rows cannot be read ({told}); at most a share of {_MAX_REJECTED_SHARE} "
            f"may. The first: {' '.join(str(found.first_bad).split())[:200]}"
        )
    notices = [f"{path}: {lost:,} of {total:,} rows cannot be read ({told})."] if lost else []
    return Look(
        name=_name(path.name),
        paths=(glob.escape(str(path)),),
        rows=found.rows,
        columns=found.columns,
        delimiter=found.delimiter,
        notices=(*notices, *([found.notice] if found.notice else [])),
        is_estimate=found.is_estimate,
        flattened_by=_flattened_by(file, path, found) if file.format == "jsonl" else None,
    )


def _check_unwrapped(path: Path, found: Survey) -> None:
    """Refuse an object around the rows.

    Raises:
        DataError: the file's rows lie inside one of its own.
    """
    inside = next(filter(None, map(rows_inside, _rows(found))), None) if found.rows <= _WRAPPED_ROWS else None
    if inside is not None and inside.rows > found.rows:
        shown = ", ".join(inside.columns[:_SHOWN_COLUMNS])
        raise DataError(
            f"{path}: {found.rows} object(s) around {inside.rows:,} rows ({shown}). Write the rows themselves, one a "
            f"line: {_jq(inside.program, path)}"
        )


def _flattened_by(file: File, path: Path, found: Survey) -> str | None:
    program = flatten_program(_rows(found))
    if program is None:
        return None
    each = ".[] | " if json_shape(read_head(file)) == "array" else ""
    return _jq(f"{each}{program}", path)


def _rows(found: Survey) -> list[dict[str, Any]]:
    return [dict(zip(found.columns, row, strict=True)) for row in zip(*found.columns.values(), strict=True)]


def _jq(program: str, path: Path) -> str:
    return f"jq -c {shlex.quote(program)} {shlex.quote(path.name)} > rows.jsonl"


def _join(one: Look, other: Look, folder: str) -> Look:
    return replace(
        one,
        name=_name(folder),
        paths=(*one.paths, *other.paths),
        rows=one.rows + other.rows,
        notices=(*one.notices, *other.notices),
        is_estimate=one.is_estimate or other.is_estimate,
    )


def _name(text: str) -> str:
    stem = text.split(".")[0]
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in stem).strip("._-") or "data"
