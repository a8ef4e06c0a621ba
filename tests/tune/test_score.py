"""Protects the metric: a trial's score is the evaluation stage's figure, with an interval, and half is never seen."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyglossa.evaluate.tasks.heldout import HeldoutSet
from polyglossa.evaluate.tasks.search_task import SearchTask
from polyglossa.evaluate.tasks.widths import score_by_language
from polyglossa.model.encoder import Encoder
from polyglossa.recipe import Recipe
from polyglossa.recipe.load import validate
from polyglossa.recipe.sections.tune import JudgeConfig
from polyglossa.tune.trial.score import SEARCH, UNSEEN, Scorer, is_searched, mean_difference
from train.toys import make_model
from tune.toy_search import make_shared, recipe_data


def test_parts_share_no_document_and_make_up_the_whole() -> None:
    documents = [f"{number:032x}" for number in range(2000)]
    searched = [is_searched(document, 0.5) for document in documents]
    assert 0.45 < np.mean(searched) < 0.55
    assert all(is_searched(document, 1.0) for document in documents)
    assert all(is_searched(document, 0.7) for document, half in zip(documents, searched, strict=True) if half)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scorer, Encoder]:
    folder = tmp_path_factory.mktemp("judged")
    corpus = make_shared(validate(Recipe, recipe_data(folder), "toy"))["corpus"]
    encoder = Encoder.load(make_model(str(folder)).at("model"))
    return Scorer(corpus, {"toy": None}, JudgeConfig()), encoder


def test_an_interval_holds_the_score_and_parts_add_up(judged: tuple[Scorer, Encoder]) -> None:
    judge, encoder = judged
    scores = {part: judge.scores(encoder, instructed=True, part=part) for part in (SEARCH, UNSEEN, None)}
    whole = judge.summary(scores[None])
    assert whole.low < whole.mean < whole.high
    counts = {part: sum(map(len, found["toy"].values())) for part, found in scores.items()}
    assert counts[SEARCH] + counts[UNSEEN] == counts[None] == 80


def test_the_score_is_what_the_evaluation_stage_computes(judged: tuple[Scorer, Encoder]) -> None:
    judge, encoder = judged
    mean = judge.summary(judge.scores(encoder, instructed=True, part=None)).mean
    heldout: HeldoutSet = judge.sets["toy"][0]
    assert mean == pytest.approx(_by_mteb(heldout, encoder), abs=1e-5)  # mteb rounds


def _by_mteb(heldout: HeldoutSet, encoder: Encoder) -> float:
    from polyglossa.embedding.state_sources import EncoderSource
    from polyglossa.evaluate.models.protocol import MtebSearcher
    from polyglossa.evaluate.models.spec import ModelSpec
    from polyglossa.evaluate.models.states import StateTable
    from polyglossa.evaluate.tasks.prompts import prompts_for
    from polyglossa.evaluate.worker import model_meta

    source = EncoderSource(encoder)
    meta = model_meta(source, ModelSpec("toy/toy", "1", instructed=True))
    task = SearchTask(heldout)
    task.load_data()
    prompts = prompts_for({}, {heldout.name: heldout.instruction}, instructed=True, search=True)
    states = StateTable(source.embed, (), None)
    searcher: Any = MtebSearcher(states, prompts, meta, finished=False, similarity="cosine")
    return float(np.mean(list(score_by_language(task, searcher).values())))


def test_two_recipes_are_compared_on_the_same_resampled_queries() -> None:
    chance = np.random.default_rng(0)
    worse = [{"a": {"x": chance.random(300).tolist()}} for _ in range(3)]
    better = [{"a": {"x": [min(1.0, score + 0.02) for score in one["a"]["x"]]}} for one in worse]
    mean, low, high = mean_difference(better, worse, resamples=500)
    assert 0.015 < low < mean < high < 0.0201
    assert mean_difference(worse, worse, resamples=100) == (0.0, 0.0, 0.0)


def test_no_set_is_judged_that_the_corpus_does_not_hold(tmp_path: Path) -> None:
    corpus = make_shared(validate(Recipe, recipe_data(tmp_path), "toy"))["corpus"]
    with pytest.raises(Exception, match="no evaluation set 'cldr'"):
        Scorer(corpus, {"cldr": None}, JudgeConfig())
