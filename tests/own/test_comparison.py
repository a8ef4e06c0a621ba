"""Protects what is said of one's own data: paired differences, advice where it is not better, the average that pays."""

from pathlib import Path
from typing import Any

import pytest

from polyglossa.artifact import Artifact, ArtifactKey, Draft, produce
from polyglossa.evaluate.scoring.outcome import write_samples
from polyglossa.evaluate.scoring.statistics import Samples
from polyglossa.own.advice import advice, propose_average, sentences
from polyglossa.own.comparison import elsewhere_figures, own_figures

HOW = {"resamples": 200, "seed": 0}


def evaluation(root: Path, name: str, **tasks: list[float]) -> Artifact:
    """An evaluation whose tasks have these scores, query by query."""

    def make(draft: Draft) -> None:
        figures = {}
        for task, scores in tasks.items():
            mean = sum(scores) / len(scores)
            write_samples(draft, task, {"default": Samples(scores)})
            figures[task] = {
                "mean": mean, "by_language": {"default": mean}, "metric": "ndcg_at_10", "type": "Retrieval",
                "interval": [0.0, 1.0],
            }  # fmt: skip
        draft.write_json({"model": name, "tasks": figures, "failed": {}}, "summary.json")

    return produce(str(root), ArtifactKey("evaluate", name, 1, {"tasks": tasks}), make)


def compared(root: Path, ours: dict[str, list[float]], start: dict[str, list[float]], **bm25: list[float]) -> Any:
    tuned, before = evaluation(root, "tuned", **ours), evaluation(root, "start", **start)
    others = {"MiniLM": before, **({"BM25": evaluation(root, "bm25", **bm25)} if bm25 else {})}
    return {
        "member": "tuned",
        "start": "MiniLM",
        "tasks": own_figures(["faq"], tuned, others, **HOW),
        "elsewhere": elsewhere_figures(["faq"], tuned, before, **HOW),
    }


def test_a_gain_is_told_with_its_interval_against_the_start_and_bm25(tmp_path: Path) -> None:
    found = compared(tmp_path, {"faq": [0.9, 0.8] * 50}, {"faq": [0.7, 0.7] * 50}, faq=[0.5, 0.4] * 50)
    (line,) = sentences(found)
    assert line.startswith("faq: nDCG@10 0.8500 on 100 held-out queries, better by 0.150 ± 0.0")
    assert "than MiniLM (0.7000), better by 0.400 ±" in line
    assert advice(found, {"steps": 80}, "mine.yaml", has_search=True) == []


def test_where_it_is_not_better_it_says_so_and_what_to_try(tmp_path: Path) -> None:
    found = compared(tmp_path, {"faq": [0.7, 0.5] * 50}, {"faq": [0.5, 0.7] * 50}, faq=[0.9] * 100)
    learning = {"steps": 80, "learning_rate": 5e-5, "relative_margin": 0.95}
    lines = advice(found, learning, "mine.yaml", has_search=True)
    assert "within chance than MiniLM" in next(sentences(found)) or "within chance" in next(sentences(found))
    assert lines[0] == "Not better than MiniLM on faq. Try, one at a time:"
    assert "training.own.steps=160" in lines[1]
    assert "learning_rate=2.5e-05 (or 0.0001)" in lines[2]
    assert "mine.relative_margin=0.9" in lines[3]
    assert lines[4].endswith("polyglossa run mine.yaml --until tune")
    assert lines[5].startswith("BM25 is better on faq")


def test_a_loss_elsewhere_is_told(tmp_path: Path) -> None:
    found = compared(
        tmp_path,
        {"faq": [0.9] * 50, "pydoc": [0.4, 0.5] * 25, "other": [0.5] * 50},
        {"faq": [0.7] * 50, "pydoc": [0.6, 0.7] * 25, "other": [0.5] * 50},
    )
    lines = list(sentences(found))
    assert lines[1].startswith("Elsewhere: pydoc nDCG@10 0.4500, worse by 0.200 ±")
    assert lines[2] == "Elsewhere: nothing lost on other."


def test_a_model_that_was_judged_on_other_rows_is_named_and_not_compared(tmp_path: Path) -> None:
    tuned, other = evaluation(tmp_path, "tuned", faq=[0.9] * 50), evaluation(tmp_path, "old", faq=[0.7] * 40)
    against = own_figures(["faq"], tuned, {"the promoted model": other}, **HOW)["faq"]["against"]
    assert against["the promoted model"]["mean"] is None
    assert "not judged on the same rows" in against["the promoted model"]["reason"]


def trials(*scores: tuple[float, float, float]) -> list[dict[str, float]]:
    return [{"share": share, "own": own, "elsewhere": elsewhere} for share, own, elsewhere in scores]


def test_the_average_that_keeps_most_and_wins_most_back_is_proposed_as_recipe_lines() -> None:
    found = propose_average(
        trials((0.0, 0.5, 0.8), (0.5, 0.62, 0.79), (0.7, 0.69, 0.76), (1.0, 0.7, 0.6)), "tuned", "MiniLM"
    )
    assert found is not None
    assert (found["share"], round(found["kept"], 2), round(found["won_back"], 2)) == (0.7, 0.95, 0.8)
    assert "weights: [0.7, 0.3], models: [tuned@backbone]" in found["said"]


@pytest.mark.parametrize(
    "given",
    [
        trials((0.0, 0.5, 0.8), (0.5, 0.55, 0.65), (1.0, 0.7, 0.6)),  # gives up more than it wins back
        trials((0.0, 0.5, 0.6), (0.5, 0.6, 0.7), (1.0, 0.7, 0.8)),  # nothing was lost
        trials((0.0, 0.7, 0.8), (0.5, 0.7, 0.8), (1.0, 0.6, 0.6)),  # nothing was gained
    ],
)
def test_an_average_that_does_not_pay_is_not_proposed(given: list[dict[str, float]]) -> None:
    assert propose_average(given, "tuned", "MiniLM") is None
