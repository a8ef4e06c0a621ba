"""What local tasks read of their files, and the account of it: rows of subsets, what was lost, what qrels name in vain.

Plans are made from it, without mteb; what a person must know stands beside the score (`notices`).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.errors import DataError
from polyglossa.evaluate.tasks.tables import find_table, first_of, read_table, subset_names
from polyglossa.readers.cells import Cell
from polyglossa.readers.tables import Whole
from polyglossa.recipe.sections.evaluate import BitextTask, ClassificationTask, LocalTask, RetrievalTask, StsTask

Relevance = dict[str, dict[str, int]]
"""Query id → document id → relevance."""


@dataclass(frozen=True)
class LocalSurvey:
    """What a task's files hold."""

    rows: dict[str, int]
    """Rows of every subset (of a bitext: every variety but the pivot)."""
    notices: tuple[str, ...]
    """What to know beside the score."""


def files_of(task: LocalTask) -> list[str]:
    """Files that a task reads."""
    if isinstance(task, RetrievalTask):
        qrels = find_table(task.path, ("qrels", "qrels/test"))
        return [find_table(task.path, ("queries",)), find_table(task.path, ("corpus",)), qrels]
    if isinstance(task, ClassificationTask) and task.train is not None:
        return [task.path, task.train]
    return [task.path]


def survey_local(task: LocalTask) -> LocalSurvey:
    """Read a task's files once and account for them.

    Raises:
        DataError: a file cannot be used, or more of its rows or judgements cannot than the task allows.
    """
    files = files_of(task)
    if isinstance(task, RetrievalTask):
        return _survey_retrieval(task, files)
    tables = [read_rows(task, file) for file in files]
    rows = _counted(tables[0].table, task)
    if isinstance(task, BitextTask) and task.pivot not in rows:
        raise DataError(f"{task.path}: no row belongs to the pivot {task.pivot!r}.")
    return LocalSurvey(
        {name: count for name, count in rows.items() if getattr(task, "pivot", None) != name},
        tuple(notice for file, table in zip(files, tables, strict=True) for notice in lost_rows(task, file, table)),
    )


def rows_by_subset(task: LocalTask) -> dict[str, int]:
    """Count the rows of every subset."""
    return survey_local(task).rows


def read_rows(task: LocalTask, path: str) -> Whole:
    """Read a table of labelled text, translations or scored pairs."""
    subsets: dict[str, Cell] = dict.fromkeys(task.subset_columns, "key")
    if isinstance(task, ClassificationTask):
        return read_table(path, {task.text: "text", task.label: "key"}, subsets)
    if isinstance(task, BitextTask):
        return read_table(path, {task.id: "key", task.text: "text", **subsets})
    assert isinstance(task, StsTask)
    return read_table(path, {task.sentence1: "text", task.sentence2: "text", task.score: "number"}, subsets)


def read_queries(task: RetrievalTask, path: str) -> Whole:
    """Read queries: `id`, `text` and the subsets' columns."""
    name = first_of(path, "_id", "id", "query-id", "query_id", "qid")
    text = first_of(path, "text", "query")
    return _renamed(read_table(path, {name: "key", text: "text"}, _subsets(task)), {name: "id", text: "text"})


def read_documents(task: RetrievalTask, path: str, *, with_texts: bool = True) -> Whole:
    """Read documents: `id`, `title` and `text` (empty where a document has none), and the subsets' columns."""
    name = first_of(path, "_id", "id", "corpus-id", "corpus_id", "doc_id", "docid")
    text = first_of(path, "text", "passage", "contents")
    kept = () if with_texts else (name, *task.subset_columns)
    optional: dict[str, Cell] = {"title": "text", text: "text", **_subsets(task)}
    read = read_table(path, {name: "key"}, optional, kept, filled=("title", text))
    found = _renamed(read, {name: "id", text: "text"})
    if with_texts and "text" not in found.table.column_names:
        raise DataError(f"{path}: has no column 'text'.")
    return found


def read_relevance(path: str) -> tuple[Relevance, Whole]:
    """Read judgements, and the account of their rows.

    Raises:
        DataError: a relevance is not a whole number.
    """
    names = {
        first_of(path, "query-id", "query_id", "qid"): "query",
        first_of(path, "corpus-id", "corpus_id", "doc_id", "docid", "doc-id"): "document",
        first_of(path, "score", "relevance", "rel"): "score",
    }
    cells: dict[str, Cell] = {name: "number" if role == "score" else "key" for name, role in names.items()}
    read = read_table(path, cells)
    queries, documents, scores = (read.table[name].to_pylist() for name in names)
    fractions = [score for score in scores if not score.is_integer()]
    if fractions:
        raise DataError(
            f"{path}: {len(fractions):,} of {len(scores):,} relevances are no whole numbers (such as {fractions[0]}), "
            "which mteb's measures count in. Multiply them all by one factor, or round them."
        )
    relevant: Relevance = {}
    for query, document, score in zip(queries, documents, scores, strict=True):
        relevant.setdefault(query, {})[document] = int(score)
    return relevant, read


def lost_rows(task: LocalTask, path: str, read: Whole) -> list[str]:
    """Say what could not be read of a file.

    Raises:
        DataError: it is more than the task allows.
    """
    lost = read.bad.total()
    told = ", ".join(f"{reason} {count:,}" for reason, count in sorted(read.bad.items()))
    if lost > task.max_rejected_share * read.rows:
        raise DataError(
            f"{path}: {lost:,} of {read.rows:,} rows cannot be read ({told}); at most a share of "
            f"{task.max_rejected_share} may. Mend the file, or raise `max_rejected_share` of the task."
        )
    return [*read.notices, *([f"{path}: {lost:,} of {read.rows:,} rows cannot be read ({told})."] if lost else [])]


def _survey_retrieval(task: RetrievalTask, files: list[str]) -> LocalSurvey:
    queries, documents = read_queries(task, files[0]), read_documents(task, files[1], with_texts=False)
    relevant, qrels = read_relevance(files[2])
    reads = (queries, documents, qrels)
    notices = [notice for file, read in zip(files, reads, strict=True) for notice in lost_rows(task, file, read)]
    if len(queries.table) and len(documents.table):  # an empty search has its own message
        notices += _named_in_vain(task, files[2], relevant, queries.table, documents.table)
    return LocalSurvey(_counted(queries.table, task), tuple(notices))


def _named_in_vain(
    task: RetrievalTask, path: str, relevant: Relevance, queries: pa.Table, documents: pa.Table
) -> list[str]:
    """Count judgements of queries and documents that are not there: they lower the score, or vanish from it.

    Raises:
        DataError: they are more than the task allows.
    """
    is_shared = not any(column in documents.column_names for column in task.subset_columns)
    held: dict[str, set[str]] = {}
    for subset, name in zip(_places(documents, task, is_shared), documents["id"].to_pylist(), strict=True):
        held.setdefault(subset, set()).add(name)
    asked: dict[str, set[str]] = {}
    for subset, name in zip(_places(queries, task, is_shared), queries["id"].to_pylist(), strict=True):
        asked.setdefault(name, set()).add(subset)
    lost: Counter[str] = Counter()
    total = 0
    for query, relevance in relevant.items():
        total += len(relevance)
        if query not in asked:
            lost["a query"] += len(relevance)
        else:
            lost["a document"] += sum(
                all(document not in held.get(subset, ()) for subset in asked[query]) for document in relevance
            )
    told = " and ".join(f"{count:,} {what}" for what, count in sorted(lost.items()) if count)
    if not told:
        return []
    message = f"{path}: of {total:,} judgements {told} name that is not there"
    if lost.total() > task.max_rejected_share * total:
        raise DataError(
            f"{message}; at most a share of {task.max_rejected_share} may. Are ids written alike in all three "
            "files? Mend them, or raise `max_rejected_share` of the task."
        )
    return [f"{message}; the score counts them as not found."]


def _places(table: pa.Table, task: RetrievalTask, is_shared: bool) -> list[str]:
    return [""] * len(table) if is_shared else list(subset_names(table, task.subset_columns).to_pylist())


def _counted(table: pa.Table, task: LocalTask) -> dict[str, int]:
    counts = pc.value_counts(subset_names(table, task.subset_columns))
    return dict(sorted((item["values"], item["counts"]) for item in counts.to_pylist()))


def _subsets(task: LocalTask) -> dict[str, Cell]:
    return dict.fromkeys(task.subset_columns, "key")


def _renamed(read: Whole, names: Mapping[str, str]) -> Whole:
    table = read.table.rename_columns([names.get(column, column) for column in read.table.column_names])
    return Whole(table, read.bad, read.notices)
