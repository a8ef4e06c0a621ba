"""Labels of a classification task are read at once, and its scores stay those of mteb."""

from pathlib import Path
from typing import Any

import pytest
from mteb.abstasks.classification import AbsTaskClassification

from evaluate.test_local import judge, labelled
from polyglossa.artifact import Artifact
from polyglossa.evaluate.models.spec import ModelSpec
from polyglossa.evaluate.worker import Worker


def test_scoring_and_sampling_are_given_lists(model: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: list[type] = []
    score, undersample = AbsTaskClassification._calculate_scores, AbsTaskClassification._undersample_data

    def seen_score(self: Any, judged: Any, predicted: Any) -> Any:
        kinds.append(type(judged))
        return score(self, judged, predicted)

    def seen_undersample(self: Any, data: Any, *rest: Any) -> Any:
        kinds.append(type(data[self.label_column_name]))
        return undersample(self, data, *rest)

    monkeypatch.setattr(AbsTaskClassification, "_calculate_scores", seen_score)
    monkeypatch.setattr(AbsTaskClassification, "_undersample_data", seen_undersample)
    worker = Worker(ModelSpec("polyglossa/tiny", model.hash, model.at("model")), threads=1, root=None)
    assert judge(worker, labelled(tmp_path / "data")).reason is None
    assert kinds == [list] * 6
