"""A verdict on an endpoint holds as long as the endpoint answers as it did, and no longer."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from evaluate.test_local import labelled
from polyglossa.errors import EndpointError, UserError
from polyglossa.evaluate.models.sources import open_source
from polyglossa.evaluate.result_cache import ResultCache
from polyglossa.evaluate.scoring.task_result import TaskResult
from polyglossa.evaluate.standalone import evaluate_model, model_spec, summary_table
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.evaluate import EvaluateConfig
from tests.endpoint.fake import Fake, running


def test_an_endpoint_that_restarts_as_it_was_keeps_its_verdict_and_one_that_cuts_elsewhere_does_not(
    tmp_path: Path, ray_local: None
) -> None:
    config = EvaluateConfig(heldout=(), local=(labelled(tmp_path / "labelled"),), resamples=100)
    fake, embedded = Fake(words=1), []
    for changes in ({}, {}, {"words": 100}):
        fake = fake.restarted(**changes)
        with running(fake) as url:
            spec = model_spec(url, config, name=fake.model, options={"key_variable": "NO_SUCH_VARIABLE"})
            done = evaluate_model(spec, config, None, str(tmp_path / "store"), StagePlacement(workers=1))
        embedded.append(done.counts["texts_embedded"])
    assert embedded[0] == embedded[2] > 0
    assert embedded[1] == 0
    fingerprints = {path.parent.name for path in (tmp_path / "store/evaluations").rglob("*.json")}
    kept = [json.loads(path.read_text()) for path in (tmp_path / "store/evaluations").rglob("*.json")]
    assert {one["fingerprint"] for one in kept} == fingerprints
    assert len(fingerprints) == 2


def test_an_endpoint_that_cannot_be_reached_or_refuses_is_one_line(tmp_path: Path, ray_local: None) -> None:
    config = EvaluateConfig(heldout=(), local=(labelled(tmp_path / "labelled"),), resamples=100)
    with running(Fake(key="k")) as url:
        for address, model, message in (
            (url, "m", r"status 401.*No key was sent\.$"),
            (url, "other", "status 404"),
            ("http://127.0.0.1:9/v1", "m", "ConnectError"),
        ):
            with pytest.raises(EndpointError, match=message) as error:
                open_source(model_spec(address, config, name=model))
            assert "\n" not in str(error.value)
        with pytest.raises(EndpointError, match=message) as error:  # as it is raised by a worker
            evaluate_model(
                model_spec(address, config, name=model),
                config,
                None,
                str(tmp_path / "store"),
                StagePlacement(workers=1),
            )
        assert "\n" not in str(error.value)
    assert not list((tmp_path / "store").rglob("manifest.json"))


def test_a_verdict_of_another_fingerprint_is_not_read(tmp_path: Path) -> None:
    ResultCache(str(tmp_path), "a").put("task", TaskResult("task", 1))
    (tmp_path / "evaluations/a").rename(tmp_path / "evaluations/b")
    assert ResultCache(str(tmp_path), "b").get("task") is None


def test_an_address_with_a_key_is_refused_before_anything_is_written() -> None:
    with pytest.raises(UserError, match="the address holds a key"):
        model_spec("http://me:sk-1@host/v1", EvaluateConfig(), name="m")


@pytest.mark.parametrize("unchecked", [True, False])
def test_the_mark_of_an_unchecked_task_has_its_legend_in_the_terminal(unchecked: bool) -> None:
    figures: dict[str, Any] = {"type": "sts", "metric": "m", "mean": 0.5, "by_language": {}, "contaminated": unchecked}
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115  # ends with the test
    console.print(summary_table({"model": "m", "mean": 0.5, "failed": {}, "tasks": {"task": figures}}))
    shown = " ".join(console.export_text().split())
    assert ("† The training corpus was not checked against this task's texts." in shown) == unchecked
    assert shown.count("†") == 2 * unchecked
