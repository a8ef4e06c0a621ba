"""Every text that mteb's data of a task holds."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import mteb
from datasets import Dataset, DatasetDict

from polyglossa.evaluate.tasks.file_lists import rows_by_subset
from polyglossa.evaluate.tasks.from_files import build_local
from polyglossa.recipe.sections.evaluate import LocalTask


def load_texts(task: str | LocalTask) -> tuple[str, list[str]]:
    """Load a task by mteb's name or from files: its name, and its distinct texts in order."""
    name = task if isinstance(task, str) else task.name
    built = mteb.get_task(task) if isinstance(task, str) else build_local(task, list(rows_by_subset(task)))
    built.load_data()
    return name, sorted(set(texts_of(built.dataset)))


def texts_of(data: Any) -> Iterator[str]:
    """Yield every text of mteb's data, however it is nested; ids, labels and training splits are not texts."""
    if isinstance(data, Dataset):
        for column, feature in data.features.items():
            if getattr(feature, "dtype", None) == "string" and column not in ("id", "label", "_id", "lang"):
                yield from (text for text in data[column][:] if text)
    elif isinstance(data, DatasetDict | Mapping):
        yield from _texts_of_parts(
            (part for name, part in data.items() if name not in ("train", "relevant_docs", "top_ranked"))
        )


def _texts_of_parts(parts: Iterable[Any]) -> Iterator[str]:
    for part in parts:
        yield from texts_of(part)
