"""Texts of evaluation sets: BEIR directories, folders of table files, and sets that `evaluate` exports.

A text that is not read is a text that is trained on: every file of a set is read, refused or excluded by the recipe,
and rows that cannot be read are counted and stop the stage above a share.
"""

import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.artifact import Artifact
from polyglossa.errors import DataError, list_names
from polyglossa.readers.files import File, bare, list_files, under
from polyglossa.readers.pieces import Piece
from polyglossa.readers.survey import column_names, format_of
from polyglossa.readers.tables import Columns, read_piece
from polyglossa.recipe.sections.corpus import DecontaminationConfig, EvaluationSet


def evaluation_sets(config: DecontaminationConfig, exported: Artifact | None) -> list[EvaluationSet]:
    """All sets to keep out: by path, and by task name from what `evaluate` exported (`texts/<task>/*.parquet`).

    Raises:
        DataError: tasks are named and nothing was exported.
    """
    if config.tasks and exported is None:
        raise DataError("corpus.decontamination.tasks: no artifact `evaluation_texts` was given; run its export first.")
    named = [EvaluationSet(name=task, path=exported.at("texts", task)) for task in config.tasks if exported is not None]
    return [*config.sets, *named]


def set_files(evaluation: EvaluationSet, folder: str) -> list[File]:
    """Files of a set: all but those that the recipe excludes, by the name of the file or of a folder below the set.

    Raises:
        DataError: nothing matches, or a file is of a format that is not read.
    """
    listed = list_files([evaluation.path], f"decontamination set {evaluation.name}", folder)
    root = str(Path(under(folder, evaluation.path)).absolute()) if "://" not in evaluation.path else evaluation.path
    files = [file for file in listed if not _is_excluded(bare(file.uri), bare(root), evaluation.exclude)]
    for file in files:
        if file.format is None:
            raise DataError(
                f"corpus.decontamination: {evaluation.name}: {file.uri}: unknown suffix, so its texts would not be "
                "kept out of training. Convert it, or name it in `exclude`."
            )
    return files


def _is_excluded(uri: str, root: str, patterns: Sequence[str]) -> bool:
    inside = uri.removeprefix(root).strip("/") if uri.startswith(root) and uri != root else posixpath.basename(uri)
    return any(fnmatchcase(part, pattern) for part in inside.split("/") for pattern in patterns)


@dataclass
class SetReading:
    """What was read of a set so far."""

    rows: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)
    """Reason → rows."""
    notices: list[str] = field(default_factory=list)


def texts_of(evaluation: EvaluationSet, files: Sequence[File], read: SetReading) -> Iterator[str]:
    """Yield every text of a set.

    Args:
        evaluation: the set.
        files: its files.
        read: takes the account of rows.

    Raises:
        DataError: a file has no column of texts, the set no text, or more rows cannot be read than may.
    """
    found = False
    wanted = ", ".join(evaluation.columns)
    for file in files:
        present = column_names(file)
        if present and not set(present) & set(evaluation.columns):
            raise DataError(
                f"corpus.decontamination: {evaluation.name}: {file.uri} has no column of {wanted}; it has "
                f"{list_names(present)}. Name its texts in `columns`, or the file in `exclude`."
            )
        columns = Columns({}, dict.fromkeys(evaluation.columns, "texts"))
        for batch in read_piece(Piece(file), format_of(file), columns):
            read.rows += batch.table.num_rows + len(batch.bad)
            read.unreadable.update(bad.reason for bad in batch.bad)
            read.notices += [batch.notice] if batch.notice else []
            for column in batch.table.columns:
                texts = _texts(column)
                found = found or bool(texts)
                yield from texts
    lost = read.unreadable.total()
    if lost > evaluation.max_rejected_share * read.rows:
        told = ", ".join(f"{reason} {count:,}" for reason, count in sorted(read.unreadable.items()))
        raise DataError(
            f"corpus.decontamination: {evaluation.name}: {lost:,} of {read.rows:,} rows cannot be read ({told}), so "
            f"they would not be kept out of training; at most a share of {evaluation.max_rejected_share} may. Mend the "
            "files, or raise `max_rejected_share` of the set."
        )
    if not found:
        raise DataError(f"corpus.decontamination: {evaluation.path} holds no text in columns {wanted}.")


def _texts(column: pa.ChunkedArray) -> Sequence[str]:
    return [text for text in pc.list_flatten(column).to_pylist() if text]
