"""The stage on Ray: any number of workers gives the same artifact, and mteb's own loader reads what it wrote."""

import json
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from mteb.results import TaskResult

from polyglossa.artifact import Artifact, ArtifactKey, Draft, produce
from polyglossa.errors import DataError
from polyglossa.evaluate import run as stage
from polyglossa.evaluate.scoring.compare import compare, comparison_table
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.evaluate import EvaluateConfig, StsTask

pytestmark = pytest.mark.usefixtures("ray_local")


def test_workers_do_not_change_the_result(model: Artifact, corpus: Artifact, tmp_path: Path) -> None:
    summaries = []
    for workers in (1, 2):
        draft = Draft(str(tmp_path / str(workers)))
        placement = StagePlacement(workers=workers)
        stage.run(EvaluateConfig(), {"corpus": corpus, "model": model}, draft, placement)
        summaries.append(json.loads(Path(draft.uri, "summary.json").read_text()))
    assert summaries[0] == summaries[1]
    cldr = summaries[0]["tasks"]["cldr"]
    assert set(cldr["by_language"]) == {"deu", "ell", "fra", "uzb_Cyrl", "zho"}
    assert set(cldr["widths"]) == {"8", "16", "32"}
    assert cldr["widths"]["32"] == cldr["mean"] != cldr["mean_distinct"]
    assert summaries[0]["languages"]["ell"] == {"name": "Modern Greek (1453-)", "script": "Grek"}
    result = TaskResult.from_disk(next(Path(draft.uri, "results").glob("*/*/cldr.json")))
    assert result.get_score() == pytest.approx(cldr["mean"], abs=1e-6)


def test_unknown_held_out_set_is_named(model: Artifact, corpus: Artifact, tmp_path: Path) -> None:
    config = EvaluateConfig(heldout=("cldr", "nowhere"))
    with pytest.raises(DataError, match="nowhere"):
        stage.run(config, {"corpus": corpus, "model": model}, Draft(str(tmp_path)), StagePlacement())


def stored(root: Path, name: str) -> Draft:
    return Draft(str(root / "artifacts" / "evaluate" / name))


def sts_task(folder: Path) -> StsTask:
    folder.mkdir(exist_ok=True)
    left, right = [f"kata {index}" for index in range(30)], [f"romi {index % 7}" for index in range(30)]
    table = {"sentence1": left, "sentence2": right, "score": [float(index % 5) for index in range(30)]}
    pq.write_table(pa.table(table), folder / "sts.parquet")
    return StsTask(kind="sts", name="pairs", path=str(folder / "sts.parquet"))


def test_what_was_judged_before_is_not_embedded_again(model: Artifact, corpus: Artifact, tmp_path: Path) -> None:
    config = EvaluateConfig(local=(sts_task(tmp_path / "data"),))
    drafts = [stored(tmp_path, "first"), stored(tmp_path, "second")]
    stage.run_many([(config, {"corpus": corpus, "model": model}, draft) for draft in drafts], StagePlacement())
    assert drafts[0].counts["texts_embedded"] > 0
    assert drafts[1].counts["texts_embedded"] == 0
    assert Path(drafts[0].uri, "summary.json").read_bytes() == Path(drafts[1].uri, "summary.json").read_bytes()


def test_a_task_that_cannot_be_judged_says_why_and_the_others_finish(
    model: Artifact, corpus: Artifact, tmp_path: Path
) -> None:
    good = sts_task(tmp_path / "data")
    lost = StsTask(kind="sts", name="lost", path=str(tmp_path / "nowhere.parquet"))
    config = EvaluateConfig(heldout=(), local=(good, lost), tasks=("NoSuchTask",), widths=False)
    draft = Draft(str(tmp_path / "out"))
    stage.run(config, {"corpus": corpus, "model": model}, draft, StagePlacement())
    summary = json.loads(Path(draft.uri, "summary.json").read_text())
    assert list(summary["tasks"]) == ["pairs"]
    assert "nowhere.parquet" in summary["failed"]["lost"]
    assert "NoSuchTask" in summary["failed"]["NoSuchTask"]
    assert "lost" in Path(draft.uri, "README.md").read_text()
    assert summary["mean"] == summary["tasks"]["pairs"]["mean"]
    assert summary["tasks"]["pairs"]["interval"][0] <= summary["mean"] <= summary["tasks"]["pairs"]["interval"][1]
    assert summary["tasks"]["pairs"]["contaminated"] is True


def test_two_evaluations_are_compared_on_the_same_rows(model: Artifact, corpus: Artifact, tmp_path: Path) -> None:
    actors = stage.start_actors(StagePlacement(), offline=True)
    made = [
        produce(
            str(tmp_path),
            ArtifactKey("evaluate", name, stage.REVISION, {"max_tokens": tokens}),
            partial(_evaluate, actors, EvaluateConfig(max_tokens=tokens), model, corpus),
        )
        for name, tokens in (("long", 160), ("short", 80))
    ]
    stage.stop_actors(actors)
    comparison = compare(*made, resamples=200)
    assert [task.task for task in comparison.tasks] == ["cldr", "pydoc"]
    cldr = comparison.tasks[0]
    assert cldr.test is not None
    assert cldr.test.low <= cldr.difference + 1e-9
    assert cldr.difference <= cldr.test.high + 1e-9
    assert comparison_table(comparison).row_count == 3


def _evaluate(actors: list[Any], config: EvaluateConfig, model: Artifact, corpus: Artifact, draft: Draft) -> None:
    stage.evaluate_model(actors, stage.model_of(config, model), config, corpus, draft)


@pytest.mark.slow
def test_killing_a_worker_in_the_middle_changes_nothing(model: Artifact, corpus: Artifact, tmp_path: Path) -> None:
    actors = stage.start_actors(StagePlacement(workers=2), offline=True)
    config, spec = EvaluateConfig(), stage.model_of(EvaluateConfig(), model)
    try:
        ray.get([actor.call.remote(spec, None, None, "facts") for actor in actors])
        blow = Timer(0.3, ray.kill, [actors[0]], {"no_restart": False})
        blow.start()
        stage.evaluate_model(actors, spec, config, corpus, Draft(str(tmp_path / "killed")))
        blow.join()
        stage.evaluate_model(actors, spec, config, corpus, Draft(str(tmp_path / "whole")))
    finally:
        stage.stop_actors(actors)
    killed, whole = ((tmp_path / name / "summary.json").read_bytes() for name in ("killed", "whole"))
    assert killed == whole
