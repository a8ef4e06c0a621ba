"""Texts of evaluation sets: BEIR directories, folders of JSONL or Parquet files, and sets that `evaluate` exports."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.artifact import Artifact
from polyglossa.corpus.files import File, Piece, bare, list_files
from polyglossa.corpus.tables import Columns, read_piece
from polyglossa.errors import DataError
from polyglossa.recipe.corpus import DecontaminationConfig, EvaluationSet


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
    """Files of a set that may hold texts: JSONL and Parquet, no relevance judgements."""
    files = list_files([evaluation.path], evaluation.name, folder)
    return [
        file
        for file in files
        if file.format in ("jsonl", "parquet") and not bare(file.uri).rpartition("/")[2].startswith("qrels")
    ]


def texts_of(evaluation: EvaluationSet, files: Sequence[File]) -> Iterator[str]:
    """Yield every text of a set.

    Raises:
        DataError: the set has no file, or no file has a column of texts.
    """
    found = False
    for file in files:
        columns = Columns({}, dict.fromkeys(evaluation.columns, "texts"))
        for batch in read_piece(Piece(file), str(file.format), columns):
            for column in batch.table.columns:
                texts = _texts(column)
                found = found or bool(texts)
                yield from texts
    if not found:
        wanted = ", ".join(evaluation.columns)
        raise DataError(f"corpus.decontamination: {evaluation.path} holds no text in columns {wanted}.")


def _texts(column: pa.ChunkedArray) -> Sequence[str]:
    return [text for text in pc.list_flatten(column).to_pylist() if text]
