"""A small family's evaluations, training runs and artifacts, made up: what the report is drawn from."""

import json
from pathlib import Path
from typing import Any

import pytest

from polyglossa.artifact import Artifact, ArtifactKey, Draft, produce
from polyglossa.recipe.sections.report import ReportConfig, ReportedMember

SPEED = {"speed.json": json.dumps({"milliseconds_per_text": 3.5, "threads": 1})}
SCRIPTS = ("Latn", "Cyrl", "Arab", "Deva", "Hans", "Ethi")
LANGUAGES = {f"l{index:02}": SCRIPTS[index % len(SCRIPTS)] for index in range(48)}


AUDIT = {
    "bins": [-1.0, 0.0, 1.0],
    "sources": {
        "qa": {
            "rows_mined": 50, "negatives": 350, "short_share": 0.02, "positive_mean": 0.8, "negative_mean": 0.4,
            "positive_histogram": [1, 49], "negative_histogram": [50, 300],
        }
    },
}  # fmt: skip


def lines(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def summary(model: str, dim: int, level: float) -> dict[str, Any]:
    names = {code: round(level + index / 200, 5) for index, code in enumerate(LANGUAGES)}
    mean = sum(names.values()) / len(names)
    widths = {str(width): mean * (1 - 0.2 * (dim // width - 1) / dim) for width in (dim // 4, dim // 2, dim)}
    tasks = {
        "cldr": {"metric": "accuracy", "type": "Retrieval", "mean": mean, "mean_distinct": mean - 0.05,
                 "by_language": names, "widths": widths, "interval": [mean - 0.2, mean + 0.2]},
        "pydoc": {"metric": "ndcg_at_10", "type": "Retrieval", "mean": level / 2,
                  "by_language": {"python": level / 2}, "widths": {str(dim): level / 2}},
        "topics": {"metric": "accuracy", "type": "Classification", "mean": level, "by_language": {"default": level},
                   "language": "l00", "widths": {}, "contaminated": True},
        "pairs": {"metric": "cosine_spearman", "type": "STS", "mean": level, "by_language": {"l01": level},
                  "widths": {}},
    }  # fmt: skip
    languages = {code: {"script": script, "name": f"Language {code}"} for code, script in LANGUAGES.items()}
    trained = {
        "codefuse-ai/F2LLM-v2-80M": {"tasks": ["ArguAna"], "likely": ["SIB200"]},
        "codefuse-ai/F2LLM-v2-14B": {"tasks": [], "likely": []},
    }
    benchmarks = {"MTEB(eng, v2)": {"mean": level, "tasks": 40, "left_out": 1, "trained_on": trained}}
    found = {"model": model, "parameters": 1000 * dim, "dim": dim, "tasks": tasks, "failed": {}, "languages": languages,
             "benchmarks": benchmarks}  # fmt: skip
    if model == "small":
        found["retention"] = {"float32": {"8": 0.9, "16": 1.0}, "binary": {"8": 0.613, "16": 0.7}}
    return found


@pytest.fixture
def config() -> ReportConfig:
    small = ReportedMember(name="small", without_distillation="small.without_distillation", teacher="base")
    return ReportConfig(members=(ReportedMember(name="base", untrained="base.untrained"), small))


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Artifact]:
    root = str(tmp_path / "store")

    def make(
        stage: str, name: str, files: dict[str, str], parents: dict[str, Artifact] | None = None, **counts: Any
    ) -> Artifact:
        def write(draft: Draft) -> None:
            for file, text in files.items():
                Path(draft.at(file)).write_text(text)
            draft.count(**counts)

        return produce(root, ArtifactKey(stage, name, 1, {}, parents or {}), write)

    card = {"report/corpus.html": "<p>a card</p>"}
    corpus = make("corpus", "corpus", card, rows_in=100, rows_out=90, rejects={"duplicate": 10})
    steps = [
        {"step": step, "loss": 5 / (step + 1), "tokens": 100, "seconds": 0.5, "data_wait": 0.01} for step in range(50)
    ]
    meanwhile = [{"step": 25, "mean": 0.25}, {"step": 40, "reason": "out of memory"}, {"step": 50, "mean": 0.5}]
    files = {"metrics.jsonl": lines(steps), "evaluations.jsonl": lines(meanwhile)}
    train = make("train", "train.base", files, {"corpus": corpus})
    store = make("distill", "distill.base", {}, {"model": train}, texts=400, embedded=300, width=32)
    learned = [{**step, "terms": {"hard": 1.0, "distillation": 1 / (step["step"] + 1)}} for step in steps]
    small = make("train", "train.small", {"metrics.jsonl": lines(learned)}, {"teacher": store})
    mined = make("mine", "mine.small", {"audit.json": json.dumps(AUDIT), "report/mining.html": ""}, {"model": train})
    levels = {
        "base": (32, 0.6),
        "base.untrained": (32, 0.2),
        "small": (16, 0.55),
        "small.without_distillation": (16, 0.4),
    }
    evaluations = {
        f"evaluate:{label}": make(
            "evaluate",
            f"evaluate.{label}",
            {"summary.json": json.dumps(summary(label, *level)), **SPEED},
            {"model": train},
        )
        for label, level in levels.items()
    }
    return {"corpus": corpus, "mine.small": mined, "train:base": train, "train:small": small, **evaluations}
