"""The questions of one's own data, held out and trained on, and what answers each: read from the task and the folder.

Q queries, N documents.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from polyglossa.evaluate.tasks.file_lists import files_of, read_documents, read_queries, read_relevance, read_rows
from polyglossa.evaluate.tasks.tables import subset_names
from polyglossa.recipe.sections.evaluate import ClassificationTask, LocalTask, RetrievalTask
from polyglossa.records import text_id


@dataclass(frozen=True)
class Questions:
    """One task's queries, what is searched, and what is right."""

    task: str
    queries: tuple[str, ...]
    """[Q] held-out ones first, in the order of the evaluation's samples; then those that were trained on."""
    heldout: int
    """How many of them are held out."""
    documents: tuple[str, ...]
    relevant: tuple[tuple[int, ...], ...]
    """[Q] places of the documents that are right."""
    labels: tuple[str, ...] = ()
    """[N] of labelled text: label of each document; empty elsewhere."""
    query_labels: tuple[str, ...] = ()
    """[Q] likewise."""

    @property
    def is_labelled(self) -> bool:
        """Whether documents are right by their label."""
        return bool(self.labels)


def read_questions(task: LocalTask, folder: Path, most_trained: int) -> Questions | None:
    """Read a task's questions; None for scored pairs and bitext, where nothing is searched.

    Args:
        task: the task, its paths placed.
        folder: what `init` wrote.
        most_trained: training queries taken at most, by hash.
    """
    if isinstance(task, RetrievalTask):
        return _search(task, folder, most_trained)
    if isinstance(task, ClassificationTask):
        return _labelled(task, most_trained)
    return None


def _search(task: RetrievalTask, folder: Path, most: int) -> Questions:
    files = files_of(task)
    asked = read_queries(task, files[0]).table
    documents = read_documents(task, files[1]).table
    relevant = read_relevance(files[2])[0]
    place = {name: number for number, name in enumerate(documents["id"].to_pylist())}
    texts = documents["text"].to_pylist()
    subsets = subset_names(asked, task.subset_columns).to_pylist()
    rows = zip(subsets, asked["id"].to_pylist(), asked["text"].to_pylist(), strict=True)
    held = [(text, relevant[name]) for _, name, text in sorted(rows) if relevant.get(name)]
    queries = [text for text, _ in held]
    right = [tuple(place[one] for one, score in found.items() if score > 0 and one in place) for _, found in held]
    by_text = {text: number for number, text in enumerate(texts)}
    for query, answers in _trained(folder / "train" / f"{task.name.removeprefix('own-')}.parquet", most):
        queries.append(query)
        right.append(tuple(by_text[text] for text in answers if text in by_text))
    return Questions(task.name, tuple(queries), len(held), tuple(texts), tuple(right))


def _trained(file: Path, most: int) -> list[tuple[str, list[str]]]:
    """Training queries and all their answers, at most so many, by hash."""
    answers: dict[str, list[str]] = {}
    if most == 0 or not file.exists():
        return []
    table = pq.read_table(file, columns=["query", "passage"])
    for query, found in zip(table["query"].to_pylist(), table["passage"].to_pylist(), strict=True):
        answers.setdefault(query, []).extend(found)
    return [(query, answers[query]) for query in sorted(answers, key=text_id)[:most]]


def _labelled(task: ClassificationTask, most: int) -> Questions:
    assert task.train is not None
    test, train = read_rows(task, task.path).table, read_rows(task, task.train).table
    known = set(train[task.label].to_pylist())
    held = [
        (text, label)
        for text, label in zip(test[task.text].to_pylist(), test[task.label].to_pylist(), strict=True)
        if label in known
    ]
    trained = list(zip(train[task.text].to_pylist(), train[task.label].to_pylist(), strict=True))
    asked = sorted(trained, key=lambda row: text_id(row[0]))[:most]
    rows = [*held, *asked]
    return Questions(
        task.name,
        tuple(text for text, _ in rows),
        len(held),
        tuple(text for text, _ in trained),
        _same_label([label for _, label in rows], [text for text, _ in rows], trained),
        tuple(label for _, label in trained),
        tuple(label for _, label in rows),
    )


def _same_label(
    labels: Sequence[str], texts: Sequence[str], documents: Sequence[tuple[str, str]]
) -> tuple[tuple[int, ...], ...]:
    """Places of the documents of each query's label, but for the query itself."""
    places: dict[str, list[int]] = {}
    for place, (_, label) in enumerate(documents):
        places.setdefault(label, []).append(place)
    return tuple(
        tuple(place for place in places[label] if documents[place][0] != text)
        for label, text in zip(labels, texts, strict=True)
    )
