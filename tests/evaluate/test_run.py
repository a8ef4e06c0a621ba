"""The stage on Ray: any number of workers gives the same artifact, and mteb's own loader reads what it wrote."""

import json
from pathlib import Path

import pytest
from mteb.results import TaskResult

from polyglossa.artifact import Artifact, Draft
from polyglossa.errors import DataError
from polyglossa.evaluate import run as stage
from polyglossa.recipe.evaluate import EvaluateConfig
from polyglossa.recipe.placement import StagePlacement

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
