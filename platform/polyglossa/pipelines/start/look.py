"""Look at a file of data: its columns, a few hundred rows, how many rows there are and how long texts are.

Reads the head of a file only; rows of text files are counted from their size.
"""

import csv
import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from polyglossa.errors import DataError

_ROWS = 300
_SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".csv", ".tsv", ".jsonl.gz", ".csv.gz", ".tsv.gz")


@dataclass(frozen=True)
class Look:
    """What a file, or files of one layout, hold."""

    name: str
    """Name of a source made of them."""
    paths: tuple[str, ...]
    rows: int
    columns: dict[str, list[Any]]
    """Values of the first rows by column."""

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
    looks: dict[tuple[str, tuple[str, ...]], Look] = {}
    for path in paths:
        for file in _files(path):
            one = _look(file)
            key = (str(file.parent) if path.is_dir() else str(file), tuple(one.columns))
            looks[key] = _joined(looks[key], one, file.parent.name) if key in looks else one
    if not looks:
        raise DataError(
            f"{', '.join(map(str, paths))}: no file to read; give {', '.join(_SUFFIXES[:5])} files or folders."
        )
    return list(looks.values())


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise DataError(f"{path}: is not there. Give files or folders of data.")
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [file for file in found if file.is_file() and file.name.endswith(_SUFFIXES)]


def _look(file: Path) -> Look:
    try:
        rows, total = _parquet(file) if file.suffix == ".parquet" else _text(file)
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{file}: cannot be read ({reason}). Give Parquet, JSON lines, CSV or TSV.") from None
    names = dict.fromkeys(name for row in rows for name in row)
    return Look(_name(file.name), (str(file),), total, {name: [row.get(name) for row in rows] for name in names})


def _parquet(file: Path) -> tuple[list[dict[str, Any]], int]:
    with pq.ParquetFile(file) as opened:
        batch = next(opened.iter_batches(batch_size=_ROWS), None)
        return (batch.to_pylist() if batch is not None else []), opened.metadata.num_rows


def _text(file: Path) -> tuple[list[dict[str, Any]], int]:
    packed = file.suffix == ".gz"
    with gzip.open(file, "rt", encoding="utf-8") if packed else file.open(encoding="utf-8", newline="") as stream:
        rows = list(islice(_rows(file.name, stream), _ROWS))
    read = sum(len(json.dumps(row, ensure_ascii=False).encode()) for row in rows) or 1
    share = file.stat().st_size * (3 if packed else 1) / read
    return rows, len(rows) if len(rows) < _ROWS else round(len(rows) * share)


def _rows(name: str, stream: io.TextIOBase) -> Iterator[dict[str, Any]]:
    if ".csv" in name or ".tsv" in name:
        yield from csv.DictReader(stream, delimiter="\t" if ".tsv" in name else ",")
        return
    for line in stream:
        if line.strip():
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("a line is not a JSON object")
            yield row


def _joined(one: Look, other: Look, folder: str) -> Look:
    return Look(_name(folder), (*one.paths, *other.paths), one.rows + other.rows, one.columns)


def _name(text: str) -> str:
    stem = text.split(".")[0]
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in stem).strip("._-") or "data"
