"""Labels of a classification task as lists: mteb hands scikit-learn a column that is read from its table row by row.

Seven scores of ten experiments read every label about thirty times; with 205 varieties that was nearly all the time of
a task. The scores are the same numbers.
"""

from typing import Any

from mteb.abstasks.classification import AbsTaskClassification


def use_label_lists(task: Any) -> Any:
    """Make a classification task read its labels at once; any other task comes back as it is."""
    if not isinstance(task, AbsTaskClassification):
        return task
    # mteb has no public place for this; tests/evaluate/test_labels.py notices when these two methods move.
    score, undersample = task._calculate_scores, task._undersample_data
    task._calculate_scores = lambda labels, predicted: score(labels[:], predicted)
    task._undersample_data = lambda data, *rest: undersample(_Listed(data), *rest)
    return task


class _Listed:
    """A data set whose labels are a list."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self.select = data.select

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, name: str) -> Any:
        return self._data[name][:]
