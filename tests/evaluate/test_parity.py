"""Scores equal what mteb alone gives with an independent encoder: the directory in sentence-transformers, float32."""

import math
from typing import Any

import mteb
import pytest
from mteb.models import SentenceTransformerEncoderWrapper
from sentence_transformers import SentenceTransformer

from polyglossa.artifact import Artifact
from polyglossa.evaluate.models.spec import ModelSpec
from polyglossa.evaluate.plan import Share
from polyglossa.evaluate.scoring.task_result import TaskResult
from polyglossa.evaluate.tasks.heldout import HeldoutSet, read_heldout
from polyglossa.evaluate.tasks.prompts import prompts_for
from polyglossa.evaluate.tasks.search_task import SearchTask
from polyglossa.evaluate.worker import Worker
from polyglossa.model.instructions import render


@pytest.fixture(scope="module")
def worker(model: Artifact) -> Worker:
    spec = ModelSpec("polyglossa/tiny", model.hash, model.at("model"))
    return Worker(spec, threads=1, root=None)


def judge(worker: Worker, heldout: HeldoutSet, *, instructed: bool) -> TaskResult:
    texts = list(dict.fromkeys(heldout.texts(instructed=instructed)))
    share = Share(heldout.name, len(heldout.queries), heldout, None, tuple(heldout.languages))
    prompts = prompts_of(heldout) if instructed else {}
    task_result = worker.evaluate_share(share, prompts, worker.facts().widths, texts, worker.embed(texts))
    assert task_result.reason is None
    return task_result


def prompts_of(heldout: HeldoutSet) -> dict[str, str]:
    return prompts_for({}, {heldout.name: heldout.instruction}, instructed=True, search=True)


def stock(model: Artifact, heldout: HeldoutSet, *, instructed: bool, width: int | None = None) -> list[dict[str, Any]]:
    """What mteb gives for the exported directory, with nothing of ours but the task's data."""
    independent = SentenceTransformer(model.at("model"), device="cpu", truncate_dim=width)
    independent.prompts = {}
    prefix = prompts_of(heldout)[f"{heldout.name}-query"] if instructed else ""
    wrapped = SentenceTransformerEncoderWrapper(independent, model_prompts={"query": prefix, "document": ""})
    ran = mteb.evaluate(wrapped, SearchTask(heldout), cache=None, co2_tracker=False, show_progress_bar=False)
    return ran.task_results[0].scores["test"]


@pytest.mark.parametrize("name", ["cldr", "pydoc"])
@pytest.mark.parametrize("instructed", [True, False])
def test_every_score_equals_mteb_with_sentence_transformers(
    worker: Worker, model: Artifact, corpus: Artifact, name: str, instructed: bool
) -> None:
    heldout = read_heldout(corpus, name)
    ours = judge(worker, heldout, instructed=instructed).result["scores"]["test"]
    theirs = stock(model, heldout, instructed=instructed)
    assert [row["hf_subset"] for row in ours] == [row["hf_subset"] for row in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        for score, value in other.items():
            if isinstance(value, float) and not math.isnan(value) and mine[score] is not None:
                assert mine[score] == pytest.approx(value, abs=1e-6), score


@pytest.mark.parametrize("name", ["cldr", "pydoc"])
def test_each_width_equals_mteb_on_truncated_vectors(
    worker: Worker, model: Artifact, corpus: Artifact, name: str
) -> None:
    heldout = read_heldout(corpus, name)
    swept = judge(worker, heldout, instructed=True).widths
    assert sorted(swept) == [8, 16]
    for width, by_language in swept.items():
        theirs = stock(model, heldout, instructed=True, width=width)
        expected = {row["hf_subset"]: row["main_score"] for row in theirs}
        assert by_language == pytest.approx(expected, abs=1e-6)


def test_second_mean_leaves_out_names_equal_to_the_english_one(worker: Worker, corpus: Artifact) -> None:
    rows = judge(worker, read_heldout(corpus, "cldr"), instructed=False).result["scores"]["test"]
    for row in rows:
        hits, hits_distinct = row["hit_rate_at_1"] * 40, row["hit_rate_at_1_distinct"] * 32
        # Untrained and uninstructed, a name finds itself: the 8 equal ones are all hits.
        assert hits - hits_distinct == pytest.approx(8, abs=0.01)


def test_prompt_of_a_held_out_task_is_what_the_encoder_renders(corpus: Artifact) -> None:
    heldout = read_heldout(corpus, "cldr")
    prefix = prompts_of(heldout)["cldr-query"]
    assert prefix + "Allemagne" == render("Allemagne", heldout.instruction)
