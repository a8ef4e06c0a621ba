"""Any model is judged as mteb alone judges it, by a directory or behind an endpoint, and once only."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import mteb
import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from evaluate.test_local import labelled, scored
from polyglossa.artifact import Artifact
from polyglossa.errors import UserError
from polyglossa.evaluate.standalone import evaluate_model, model_spec, summary_table
from polyglossa.evaluate.tasks.from_files import build_local
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.evaluate import EvaluateConfig

PLACEMENT = StagePlacement(workers=1)


@pytest.fixture(scope="module")
def independent(model: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of another kind: mean pooling, as sentence-transformers writes it."""
    from sentence_transformers import models

    inner = models.Transformer(model.at("model"), max_seq_length=160)
    folder = tmp_path_factory.mktemp("independent")
    pooled = SentenceTransformer(modules=[inner, models.Pooling(32, pooling_mode="mean")], device="cpu")
    pooled.save_pretrained(str(folder))
    return folder


def test_any_directory_gets_what_mteb_gives_and_is_judged_once(
    independent: Path, tmp_path: Path, ray_local: None
) -> None:
    tasks = (labelled(tmp_path / "labelled"), scored(tmp_path / "scored"))
    config = EvaluateConfig(heldout=(), local=tasks, resamples=100)
    done = evaluate_model(model_spec(str(independent), config), config, None, str(tmp_path), PLACEMENT)
    summary = done.read_json("summary.json")
    stock = SentenceTransformer(str(independent), device="cpu")
    for task in tasks:
        made = build_local(task, ["default"])
        theirs = mteb.evaluate(stock, made, cache=None, co2_tracker=False, show_progress_bar=False).task_results[0]
        assert summary["tasks"][task.name]["mean"] == pytest.approx(theirs.scores["test"][0]["main_score"], abs=1e-6)
    assert summary_table(summary).row_count == 2
    again = evaluate_model(model_spec(str(independent), config), config, None, str(tmp_path), PLACEMENT)
    assert again.manifest == done.manifest
    fewer = config.model_validate({**config.model_dump(), "resamples": 101})
    assert (
        evaluate_model(model_spec(str(independent), fewer), fewer, None, str(tmp_path), PLACEMENT).counts[
            "texts_embedded"
        ]
        == 0
    )


@pytest.fixture
def endpoint(independent: Path) -> Iterator[str]:
    """An OpenAI-compatible endpoint in front of the directory."""
    stock = SentenceTransformer(str(independent), device="cpu")

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            vectors = stock.encode(asked["input"], show_progress_bar=False).astype(np.float32)
            rows = [
                {"index": row, "embedding": base64.b64encode(vector.tobytes()).decode()}
                for row, vector in enumerate(vectors)
            ]
            body = json.dumps({"data": rows}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


def test_an_endpoint_gets_what_its_model_gets(
    endpoint: str, independent: Path, tmp_path: Path, ray_local: None
) -> None:
    config = EvaluateConfig(heldout=(), local=(labelled(tmp_path / "labelled"),), resamples=100)
    means = []
    for model, name in ((endpoint, "mean"), (str(independent), None)):
        done = evaluate_model(model_spec(model, config, name=name), config, None, str(tmp_path / "store"), PLACEMENT)
        means.append(done.read_json("summary.json")["tasks"]["labelled"]["mean"])
    assert means[0] == pytest.approx(means[1], abs=1e-6)


def test_a_task_that_could_not_be_judged_is_tried_again_by_the_same_call(
    independent: Path, tmp_path: Path, ray_local: None
) -> None:
    config = EvaluateConfig(heldout=(), local=(labelled(tmp_path / "labelled"),), tasks=("STS22",), resamples=100)
    made = [
        evaluate_model(model_spec(str(independent), config), config, None, str(tmp_path), PLACEMENT) for _ in range(2)
    ]
    assert [list(one.read_json("summary.json")["failed"]) for one in made] == [["STS22"]] * 2, "no hub is reached"
    assert made[0].manifest != made[1].manifest
    assert all((one.unfinished or "").startswith("STS22 could not be judged: ") for one in made)
    assert made[1].counts["texts_embedded"] == 0, "what was judged has its verdict"


def test_a_task_that_mteb_does_not_know_is_refused_with_the_one_that_may_be_meant(
    independent: Path, tmp_path: Path, ray_local: None
) -> None:
    for name, meant in (("sts22", "STS22"), ("Banking77", "Banking77Classification")):
        config = EvaluateConfig(heldout=(), tasks=(name,))
        with pytest.raises(UserError, match=rf"mteb knows no task '{name}'; did you mean {meant}\b"):
            evaluate_model(model_spec(str(independent), config), config, None, str(tmp_path), PLACEMENT)
    assert not list(tmp_path.glob("artifacts/evaluate/*/COMMITTED"))


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model directory"):
        model_spec(str(tmp_path), EvaluateConfig())
    with pytest.raises(UserError, match="--name"):
        model_spec("http://127.0.0.1:1/v1", EvaluateConfig())
