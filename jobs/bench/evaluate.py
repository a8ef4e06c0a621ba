"""Benchmark of evaluation over workers: fourteen tasks on real texts, one thread per worker, one worker and then two.

    python jobs/bench/evaluate.py --out runs/bench/evaluate.json          # make bench-evaluate

The time is that of judging: actors are started and have loaded their model before the clock runs. The results of both
runs must be equal.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray

from polyglossa.artifact import Draft
from polyglossa.evaluate.models.spec import ModelSpec
from polyglossa.evaluate.run import evaluate_model, start_actors, stop_actors
from polyglossa.model.directory import build_model, save_model_directory
from polyglossa.model.forward import TextModel
from polyglossa.model.tokenizer import train_tokenizer
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.evaluate import BitextTask, ClassificationTask, EvaluateConfig, LocalTask, RetrievalTask
from polyglossa.runtime.session import local_ray

XQUAD = ("eng", "deu", "ell", "tha")
VARIETIES = ("deu_Latn", "rus_Cyrl", "hin_Deva", "swh_Latn", "arb_Arab", "zho_Hans", "tha_Thai", "yor_Latn")
QUERIES = 150


def main() -> None:
    """Cut the tasks, judge a small model with one worker and with two, and print the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("POLYGLOSSA_DATA", "../shared/data"))
    parser.add_argument("--out", default=None, help="JSON file for the figures")
    options = parser.parse_args()
    data = Path(options.data).absolute()
    if not (data / "eval").is_dir():
        sys.exit(f"{data}: not there. Give the folder of the benchmark data with --data or POLYGLOSSA_DATA.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = EvaluateConfig(heldout=(), local=tuple(cut_tasks(data, folder)), widths=False, resamples=100)
        spec = small_model(data, folder / "model")
        with local_ray(cpus=2, object_store_gib=0.3):
            runs = {workers: judged(spec, config, workers, folder) for workers in (1, 2)}
    assert runs[1]["summary"] == runs[2]["summary"], "the number of workers changed a result"
    figures = {
        "tasks": len(config.local),
        "one_worker_seconds": round(runs[1]["seconds"], 2),
        "two_workers_seconds": round(runs[2]["seconds"], 2),
        "two_workers_over_one": round(runs[1]["seconds"] / runs[2]["seconds"], 3),
    }
    print(json.dumps(figures))
    if options.out:
        Path(options.out).parent.mkdir(parents=True, exist_ok=True)
        Path(options.out).write_text(json.dumps(figures, indent=1))


def judged(spec: ModelSpec, config: EvaluateConfig, workers: int, folder: Path) -> dict[str, Any]:
    """Judge with so many workers; nothing is taken from an earlier run."""
    actors = start_actors(StagePlacement(workers=workers), offline=True)
    try:
        ray.get([actor.call.remote(spec, None, "facts") for actor in actors])
        draft = Draft(str(folder / f"workers-{workers}"))
        started = time.monotonic()
        evaluate_model(actors, spec, config, None, draft)
        seconds = time.monotonic() - started
    finally:
        stop_actors(actors)
    return {"seconds": seconds, "summary": json.loads(Path(draft.uri, "summary.json").read_text())}


def small_model(data: Path, path: Path) -> ModelSpec:
    """Make a model of 1.5 M parameters that reads the texts."""
    texts = pq.read_table(data / "bitext" / "sib_flores_dev.parquet")["text"].to_pylist()
    tokenizer = train_tokenizer(texts, vocabulary=4096, max_tokens=256)
    backbone = build_model(
        hidden=128,
        mlp=256,
        layers=4,
        heads=4,
        kv_heads=2,
        head_dim=32,
        vocabulary=len(tokenizer),
        max_tokens=256,
        eos=int(tokenizer.eos_token_id),
        padding=int(tokenizer.pad_token_id),
        seed=0,
    )
    save_model_directory(str(path), TextModel.of(backbone), tokenizer, max_tokens=256, matryoshka_widths=[128])
    return ModelSpec("bench/small", "0", str(path))


def cut_tasks(data: Path, folder: Path) -> list[LocalTask]:
    """Write fourteen small tasks: four searches, two classifications, eight bitexts."""
    tasks: list[LocalTask] = [search(data, language, folder / f"xquad-{language}") for language in XQUAD]
    for name in ("banking77", "clinc150"):
        path = data / "eval" / "classification" / f"{name}_test.parquet"
        pq.write_table(pq.read_table(path).slice(0, 1200), folder / f"{name}.parquet")
        tasks.append(
            ClassificationTask(kind="classification", name=name, path=str(folder / f"{name}.parquet"), experiments=3)
        )
    table = pq.read_table(data / "bitext" / "sib_flores_test.parquet")
    variety = pc.binary_join_element_wise(table["language"], table["script"], "_")
    for name in VARIETIES:
        kept = pc.is_in(variety, pa.array([name, "eng_Latn"]))
        pq.write_table(table.filter(kept), folder / f"{name}.parquet")
        tasks.append(BitextTask(kind="bitext", name=f"flores {name}", path=str(folder / f"{name}.parquet")))
    return tasks


def search(data: Path, language: str, folder: Path) -> RetrievalTask:
    """Cut one language out of XQuAD."""
    folder.mkdir()
    for part in ("queries", "corpus", "qrels"):
        table = pq.read_table(data / "eval" / "retrieval" / "xquad" / f"{part}.parquet")
        table = table.filter(pc.equal(table["subset"], f"xquad_{language}"))
        pq.write_table(table.slice(0, QUERIES) if part == "queries" else table, folder / f"{part}.parquet")
    return RetrievalTask(kind="retrieval", name=f"xquad {language}", path=str(folder), language=language)


if __name__ == "__main__":
    main()
