"""Which files a local task reads and how many rows its subsets have: what plans are made from, without mteb."""

import pyarrow.compute as pc

from polyglossa.errors import DataError
from polyglossa.evaluate.tables import find_table, read_table, subset_names
from polyglossa.recipe.evaluate import BitextTask, ClassificationTask, LocalTask, RetrievalTask


def files_of(task: LocalTask) -> list[str]:
    """Files that a task reads."""
    if isinstance(task, RetrievalTask):
        queries = find_table(task.path, ("queries.parquet", "queries.jsonl"))
        corpus = find_table(task.path, ("corpus.parquet", "corpus.jsonl"))
        return [queries, corpus, find_table(task.path, ("qrels.parquet", "qrels/test.tsv", "qrels.tsv"))]
    if isinstance(task, ClassificationTask) and task.train is not None:
        return [task.path, task.train]
    return [task.path]


def rows_by_subset(task: LocalTask) -> dict[str, int]:
    """Count the rows of every subset (of a bitext: every variety but the pivot); what plans are made from."""
    table = read_table(files_of(task)[0])
    counts = pc.value_counts(subset_names(table, task.subset_columns))
    rows = {item["values"]: item["counts"] for item in counts.to_pylist()}
    if isinstance(task, BitextTask) and task.pivot not in rows:
        raise DataError(f"{task.path}: no row belongs to the pivot {task.pivot!r}.")
    return {name: count for name, count in sorted(rows.items()) if getattr(task, "pivot", None) != name}
