"""Protects the stage `own`: from evaluations and two models to figures, examples, doubtful rows, a page, an average."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.family_models import CONFIGS, WORDS, save_sentence_transformer, word_tokenizer
from polyglossa.artifact import Artifact, ArtifactKey, Draft, produce, read_json
from polyglossa.evaluate.scoring.outcome import write_samples
from polyglossa.evaluate.scoring.statistics import Samples
from polyglossa.own.averages import judge_average
from polyglossa.own.run import run
from polyglossa.own.worker import rank_questions
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.evaluate import RetrievalTask
from polyglossa.recipe.sections.own import OwnStage

TEXTS = [f"{one} {other}" for one in WORDS for other in WORDS]


def put(path: Path, **columns: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def artifact(root: Path, stage: str, make: Any) -> Artifact:
    return produce(str(root), ArtifactKey(stage, stage, 1, {}), make)


def model(root: Path, name: str) -> Artifact:
    tokenizer = word_tokenizer(before="<s>", behind="</s>")

    def make(draft: Draft) -> None:
        Path(draft.uri).mkdir(parents=True)
        save_sentence_transformer(Path(draft.uri), CONFIGS["bert"](), tokenizer, pooling="mean")

    return artifact(root, name, make)


def evaluation(root: Path, name: str, own: list[float], elsewhere: list[float]) -> Artifact:
    def make(draft: Draft) -> None:
        tasks = {}
        for task, scores in {"own-faq": own, "words": elsewhere}.items():
            write_samples(draft, task, {"default": Samples(scores)})
            mean = sum(scores) / len(scores)
            tasks[task] = {
                "mean": mean, "by_language": {"default": mean}, "metric": "ndcg_at_10", "type": "Retrieval",
            }  # fmt: skip
        draft.write_json({"model": name, "tasks": tasks, "failed": {}}, "summary.json")

    return artifact(root, name, make)


def corpus(root: Path) -> Artifact:
    def make(draft: Draft) -> None:
        queries = {"query_id": WORDS, "query": WORDS, "language": ["eng"] * len(WORDS)}
        asked = pa.table(queries | {"positive_doc_ids": [[f"{word} {word}"] for word in WORDS]})
        pq.write_table(asked, draft.at("heldout", "words", "queries.parquet"))
        pq.write_table(pa.table({"doc_id": TEXTS, "text": TEXTS}), draft.at("heldout", "words", "corpus.parquet"))
        task = {"task_type": "retrieval", "instruction": "Find.", "metric": "ndcg_at_10"}
        draft.write_json(task, "heldout", "words", "task.json")

    return artifact(root, "corpus", make)


def own_folder(root: Path) -> Path:
    """Twelve held-out words, and as many to validate and to train on."""
    folder = root / "mine.own"
    put(folder / "heldout/faq/queries.parquet", id=WORDS, text=WORDS)
    put(folder / "heldout/faq/corpus.parquet", id=TEXTS, text=TEXTS)
    answers = [f"{word} {word}" for word in WORDS]
    judged = {"query-id": WORDS, "corpus-id": answers, "score": [1] * len(WORDS)}
    put(folder / "heldout/faq/qrels.parquet", **judged)
    put(
        folder / "train/faq.parquet",
        query=[f"{word} {word} {word}" for word in WORDS] * 2,
        passage=[[answer] for answer in answers] * 2,
        group=pa.nulls(2 * len(WORDS), pa.string()),
        split=["train"] * len(WORDS) + ["validation"] * len(WORDS),
    )
    doubts = {"kind": ["repeated"], "query": ["house"], "answers": [["tree"]], "times": [2]}
    put(folder / "doubts/faq.parquet", **doubts)
    return folder


@pytest.mark.usefixtures("ray_local")
def test_the_stage_writes_figures_examples_doubts_and_a_page(tmp_path: Path) -> None:
    count = len(WORDS)
    inputs = {
        "evaluate": evaluation(tmp_path, "tuned", [0.9] * count, [0.2] * count),
        "evaluate:start": evaluation(tmp_path, "start", [0.5, 0.6] * (count // 2), [0.6] * count),
        "model": model(tmp_path, "model-tuned"),
        "start": model(tmp_path, "model-start"),
        "corpus": corpus(tmp_path),
    }
    config = OwnStage(
        folder=str(own_folder(tmp_path)),
        tasks=("own-faq",),
        start="MiniLM",
        member="tuned",
        local=(RetrievalTask(kind="retrieval", name="own-faq", path="mine.own/heldout/faq"),),
        data=str(tmp_path),
        elsewhere=("words",),
        average_shares=(0.5,),
        average_queries=10,
    )
    draft = Draft(str(tmp_path / "artifacts/own/own-0"))
    run(config, inputs, draft, StagePlacement())
    found = read_json(draft.at("own.json"))
    assert found["tasks"]["own-faq"]["against"]["MiniLM"]["difference"] == pytest.approx(0.35)
    assert found["elsewhere"]["words"]["high"] < 0
    assert [trial["share"] for trial in found["averages"]] == [0.0, 0.5, 1.0]
    assert found["proposal"] is None  # both models are the same one
    shown = read_json(draft.at("examples.json"))["own-faq"]
    assert len(shown["gained"]) == count
    assert pq.read_table(draft.at("doubtful.parquet"))["kind"].to_pylist() == ["repeated"]
    page = Path(draft.at("own.html")).read_text()
    assert json.dumps(shown["gained"][0]["query"], ensure_ascii=False) in page


def test_rankings_read_held_out_and_trained_questions(tmp_path: Path) -> None:
    from polyglossa.own.questions import read_questions

    folder = own_folder(tmp_path)
    task = RetrievalTask(kind="retrieval", name="own-faq", path=str(folder / "heldout/faq"))
    asked = read_questions(task, folder, 5)
    assert asked is not None
    assert (asked.heldout, len(asked.queries)) == (len(WORDS), len(WORDS) + 5)
    directory = model(tmp_path, "model").at("model")
    (ranking,) = rank_questions(directory, [asked], str(tmp_path), "cpu", "float32", None, 1)
    assert (ranking.rank_Q >= 1).all()


def test_an_average_is_judged_on_validation_and_elsewhere(tmp_path: Path) -> None:
    one, other = (model(tmp_path, name).at("model") for name in ("one", "other"))
    folder, held = str(own_folder(tmp_path)), corpus(tmp_path)
    scores = [judge_average(share, one, other, folder, held, ["words"], 10, 1) for share in (0.5, 1.0)]
    assert scores[0]["own"] == pytest.approx(scores[1]["own"], abs=1e-6)
    assert 0 < scores[0]["elsewhere"] <= 1
