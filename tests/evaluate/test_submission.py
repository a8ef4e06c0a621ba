"""What goes to MTEB's leaderboard is what mteb's own loader reads; a recipe's own tasks stay behind, by name."""

import json
from pathlib import Path
from typing import Any

import mteb
import pytest

from polyglossa.artifact import ArtifactKey, Draft, produce
from polyglossa.errors import DataError, UserError
from polyglossa.evaluate.submission import prepare_submission, read_results

REVISION = "0123456789abcdef0123456789abcdef01234567"
ABOUT = mteb.get_task("STSBenchmark").metadata


def result(**changes: Any) -> dict[str, Any]:
    row = {"hf_subset": "default", "main_score": 0.8, "cosine_spearman": 0.8, "languages": ["eng-Latn"]}
    plain = {
        "dataset_revision": ABOUT.dataset["revision"],
        "task_name": "STSBenchmark",
        "mteb_version": mteb.__version__,
        "scores": {"test": [row]},
        "evaluation_time": 1.0,
        "kg_co2_emissions": None,
    }
    return plain | changes


def evaluation(root: Path, *results: dict[str, Any]) -> str:
    def make(draft: Draft) -> None:
        meta = mteb.models.ModelMeta.create_empty({"name": "local/small", "revision": "0"}).model_dump(mode="json")
        draft.write_json(meta, "results", "local__small", "0", "model_meta.json")
        for one in results:
            draft.write_json(one, "results", "local__small", "0", f"{one['task_name']}.json")

    return produce(str(root), ArtifactKey("evaluate", "small", 1, {"n": len(results)}), make).uri


def test_results_lie_as_the_repository_holds_them_and_mteb_loads_them(tmp_path: Path) -> None:
    uri = evaluation(tmp_path, result(), result(task_name="xquad eng"))
    done = prepare_submission(uri, str(tmp_path / "out"), name="me/small", revision=REVISION)
    assert done.folder == tmp_path / "out" / "results" / "me__small" / REVISION
    assert (done.tasks, done.left_out) == (["STSBenchmark"], {"xquad eng": "not a task of mteb"})
    assert json.loads((done.folder / "model_meta.json").read_text())["name"] == "me/small"
    loaded = mteb.ResultCache(tmp_path / "out").load_results(tasks=["STSBenchmark"], include_remote=False)
    assert [one.model_name for one in loaded.model_results] == ["me/small"]
    with pytest.raises(UserError, match="already"):
        prepare_submission(uri, str(tmp_path / "out"), name="me/small", revision=REVISION)


def test_a_card_gets_the_same_results(tmp_path: Path) -> None:
    (found,) = read_results(evaluation(tmp_path, result()))
    assert (found["task_type"], found["dataset"]) == ("STS", ABOUT.dataset["path"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task_name": "xquad eng"}, "not a task of mteb"),
        ({"dataset_revision": "another"}, "revision another"),
        ({"scores": {"validation": []}}, "lacks the split test"),
    ],
)
def test_an_evaluation_without_a_task_of_the_leaderboard_is_refused(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=said):
        prepare_submission(
            evaluation(tmp_path, result(**changes)), str(tmp_path / "out"), name="me/small", revision=REVISION
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "revision"), [("small", REVISION), ("me/small", "main")])
def test_addresses_that_the_repository_refuses_are_refused_here(name: str, revision: str, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        prepare_submission("nowhere", str(tmp_path / "out"), name=name, revision=revision)


def test_what_is_no_evaluation_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no evaluation"):
        prepare_submission(str(tmp_path), str(tmp_path / "out"), name="me/small", revision=REVISION)
