"""Measure mining against sentence-transformers and against the machine: `python jobs/bench/mine.py [--parts miner,…]`.

Parts: `miner` (whole process, against `mine_hard_negatives`, on the pairs of `$POLYGLOSSA_DATA` or `../shared/data`),
`peak` (search against the machine's matrix-product peak), `million` (memory of a large search), `linear` (three corpus
sizes). The last line is one JSON object.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("POLYGLOSSA_DATA", ROOT.parent / "shared" / "data"))
FILES = ("jaquad_jpn", "medquad_eng", "amqa_amh")
THREADS = os.cpu_count() or 1
NEGATIVES, WINDOW = 7, 50


def main() -> None:
    """Run the parts that were asked for, each in a process of its own, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default="miner,peak,million,linear")
    parser.add_argument("--pairs", type=int, default=20_000, help="pairs of the `miner` part")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}
    for part in arguments.parts.split(","):
        figures |= PARTS[part](arguments)
    print(json.dumps(figures))


def measure(name: str, *arguments: object) -> dict[str, Any]:
    """Run one function of this file in a fresh process; returns what it printed last, and its whole time."""
    started = time.perf_counter()
    command = [sys.executable, __file__, "--call", name, *map(str, arguments)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"}
    )
    seconds = time.perf_counter() - started
    return {"seconds": seconds} | json.loads(done.stdout.strip().splitlines()[-1])


def miner(arguments: argparse.Namespace) -> dict[str, Any]:
    """Mine the same pairs with the same model by both, whole processes timed, start-up included."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = measure("prepare", folder, arguments.pairs)
        theirs = {dtype: measure("mine_theirs", folder, dtype) for dtype in ("float32", "bfloat16")}
        ours = {dtype: measure("mine_ours", folder, dtype) for dtype in ("float32", "bfloat16")}
        chosen = {name: json.loads((Path(folder) / f"{name}.json").read_text()) for name in CHOSEN}
    base = chosen["theirs-float32"]
    return {
        "pairs": prepared["pairs"],
        "seconds_sentence_transformers_float32": round(theirs["float32"]["seconds"], 1),
        "seconds_sentence_transformers_bf16": round(theirs["bfloat16"]["seconds"], 1),
        "seconds_float32": round(ours["float32"]["seconds"], 1),
        "seconds_bf16": round(ours["bfloat16"]["seconds"], 1),
        "speedup_over_sentence_transformers_float32": round(
            theirs["float32"]["seconds"] / ours["float32"]["seconds"], 2
        ),
        "speedup_over_sentence_transformers_bf16": round(theirs["float32"]["seconds"] / ours["bfloat16"]["seconds"], 2),
        "speedup_over_sentence_transformers_bf16_in_bf16": round(
            theirs["bfloat16"]["seconds"] / ours["bfloat16"]["seconds"], 2
        ),
        "overlap_float32": overlap(base, chosen["ours-float32"]),
        "overlap_bf16": overlap(base, chosen["ours-bfloat16"]),
        "overlap_sentence_transformers_bf16": overlap(base, chosen["theirs-bfloat16"]),
    }


CHOSEN = ("theirs-float32", "theirs-bfloat16", "ours-float32", "ours-bfloat16")


def overlap(left: dict[str, list[str]], right: dict[str, list[str]]) -> float:
    """Share of the negatives chosen by `left` that `right` chose, too, query by query."""
    wanted = sum(len(found) for found in left.values())
    return round(sum(len(set(found) & set(right.get(query, ()))) for query, found in left.items()) / wanted, 5)


def prepare(folder: str, pairs: str) -> dict[str, Any]:
    """Write the pairs, a corpus artifact of them, and a small model from a config."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from polyglossa.artifact import ArtifactKey, Draft, produce
    from polyglossa.model.directory import build_model, save_model_directory
    from polyglossa.model.tokenizer import train_tokenizer
    from polyglossa.records import DOCUMENT, PAIR, row_id, text_id

    tables = [pq.read_table(DATA / "retrieval" / f"{name}.parquet", columns=["query", "passage"]) for name in FILES]
    table = pa.concat_tables(tables).slice(0, int(pairs))
    passages: dict[str, list[str]] = {}
    for query, passage in zip(table["query"].to_pylist(), table["passage"].to_pylist(), strict=True):
        passages.setdefault(query, [])
        if passage not in passages[query]:
            passages[query].append(passage)
    Path(folder, "pairs.json").write_text(json.dumps(passages))

    def make(draft: Draft) -> None:
        texts = dict.fromkeys(text for found in passages.values() for text in found)
        documents = [dict.fromkeys(DOCUMENT.names) | {"doc_id": text_id(t), "text": t, "source": "real"} for t in texts]
        rows = [
            dict.fromkeys(PAIR.names)
            | {"pair_id": row_id(query), "query": query, "positive_ids": [text_id(text) for text in found]}
            | {"task": "retrieval", "split": "train", "source": "real"}
            for query, found in passages.items()
        ]
        pq.write_table(pa.Table.from_pylist(documents, schema=DOCUMENT), draft.at("documents", "part.parquet"))
        pq.write_table(pa.Table.from_pylist(rows, schema=PAIR), draft.at("pairs", "real", "part.parquet"))

    produce(folder, ArtifactKey("corpus", "corpus", 1, {}), make)
    tokenizer = train_tokenizer(table["passage"].to_pylist()[::5], vocabulary=8192, max_tokens=128)
    backbone = build_model(
        hidden=256, mlp=512, layers=4, heads=4, kv_heads=2, head_dim=64, vocabulary=8192, max_tokens=128,
        eos=tokenizer.eos_token_id, padding=tokenizer.pad_token_id, seed=0,
    )  # fmt: skip
    model = str(Path(folder, "model"))
    save_model_directory(model, backbone, tokenizer, max_tokens=128, prompts={}, matryoshka_widths=(256,))
    return {"pairs": len(table)}


def mine_theirs(folder: str, dtype: str) -> dict[str, Any]:
    """Mine with `mine_hard_negatives`: exact search, top strategy, its own batch size."""
    import torch
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    torch.set_num_threads(THREADS)
    passages = json.loads(Path(folder, "pairs.json").read_text())
    flat = [{"query": query, "passage": text} for query, found in passages.items() for text in found]
    model = SentenceTransformer(str(Path(folder, "model")), device="cpu", model_kwargs={"dtype": dtype})
    mined = mine_hard_negatives(
        Dataset.from_list(flat), model, range_max=WINDOW, relative_margin=0.05, num_negatives=NEGATIVES,
        sampling_strategy="top", output_format="triplet", verbose=False,
    )  # fmt: skip
    chosen: dict[str, list[str]] = {}
    for query, negative in zip(mined["query"], mined["negative"], strict=True):
        chosen.setdefault(query, []).append(negative)
    Path(folder, f"theirs-{dtype}.json").write_text(json.dumps(chosen))
    return {}


def mine_ours(folder: str, dtype: str) -> dict[str, Any]:
    """Mine with the mining stage, its Ray included."""
    import pyarrow.dataset as pads

    from polyglossa.artifact import ArtifactKey, open_artifact, produce
    from polyglossa.mine import run as stage
    from polyglossa.pipelines.session import ray_session
    from polyglossa.recipe import Profile
    from polyglossa.recipe.mine import MineConfig
    from polyglossa.recipe.placement import StagePlacement

    (corpus,) = Path(folder).glob("artifacts/corpus/*")
    inputs = {"corpus": open_artifact(str(corpus))}
    config = MineConfig(
        model=str(Path(folder, "model")),
        top_k=WINDOW,
        relative_margin=0.95,
        near_copy=None,
        negatives=NEGATIVES,
        dtype=dtype,
    )
    key = ArtifactKey("mine", "mine", 1, config.model_dump(mode="json"), inputs)
    with ray_session(Profile()):
        run = lambda draft: stage.run(config, inputs, draft, StagePlacement(workers=THREADS))  # noqa: E731
        artifact = produce(folder, key, run)
    table = pads.dataset(artifact.at("pairs"), format="parquet").to_table(columns=["query", "negative_ids"])
    documents = pads.dataset(str(corpus / "documents"), format="parquet").to_table(columns=["doc_id", "text"])
    text = dict(zip(documents["doc_id"].to_pylist(), documents["text"].to_pylist(), strict=True))
    chosen = {row["query"]: [text[key] for key in row["negative_ids"]] for row in table.to_pylist()}
    Path(folder, f"ours-{dtype}.json").write_text(json.dumps(chosen))
    return {}


def peak(_: argparse.Namespace) -> dict[str, Any]:
    """Search 10,000 queries in 200,000 × 384 vectors, selection included, against the matrix-product peak."""
    return {"search_share_of_peak": measure("search_share", 10_000, 200_000)["share"]}


def search_share(queries: str, documents: str) -> dict[str, Any]:
    """Time search and the machine's float32 product in one process, turn about; best of three."""
    import torch

    from polyglossa.mine.search import InMemory, search

    torch.set_num_threads(THREADS)
    query, document = unit_vectors(int(queries), 0), unit_vectors(int(documents), 1)
    square = torch.randn(4096, 4096)
    rates, seconds = [], []
    for _ in range(3):
        rates.append(2 * 4096**3 / best_of(lambda: square @ square))
        seconds.append(best_of(lambda: search(query, InMemory(document), 100)))
    flops = 2 * query.shape[0] * document.shape[0] * query.shape[1]
    return {"share": round(flops / min(seconds) / max(rates), 3), "gflops_peak": max(rates) / 1e9}


def million(_: argparse.Namespace) -> dict[str, Any]:
    """Search 10,000 queries in a store of 1,000,000 × 384 vectors, top 100; the process's peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        measure("fill_store", folder, 1_000_000)
        found = measure("search_store", folder, 1_000_000, 10_000)
    return {"million_peak_gib": found["peak_gib"], "million_seconds": found["search_seconds"]}


def linear(_: argparse.Namespace) -> dict[str, Any]:
    """Search the same queries in three sizes of corpus."""
    seconds = {}
    for size in (50_000, 100_000, 200_000):
        with tempfile.TemporaryDirectory() as folder:
            measure("fill_store", folder, size)
            seconds[size] = measure("search_store", folder, size, 4096)["search_seconds"]
    return {"seconds_by_corpus_size": seconds}


def fill_store(folder: str, size: str) -> dict[str, Any]:
    """Put synthetic states into a vector store, shard by shard."""
    from polyglossa.vectors import VectorStore

    store, step = VectorStore(folder, "synthetic"), 50_000
    for start in range(0, int(size), step):
        store.append(ids(start, min(start + step, int(size))), unit_vectors(step, start)[: int(size) - start])
    return {}


def search_store(folder: str, size: str, queries: str) -> dict[str, Any]:
    """Search a store block by block, as mining does with a pool that does not fit memory."""
    import pyarrow as pa
    import torch

    from polyglossa.mine.search import search
    from polyglossa.mine.unit import Stored
    from polyglossa.vectors import VectorStore

    torch.set_num_threads(THREADS)
    documents = Stored(VectorStore(folder, "synthetic"), pa.array(ids(0, int(size)), pa.binary(16)))
    query = unit_vectors(int(queries), 10**9)
    started = time.perf_counter()
    search(query, documents, 100)
    seconds = round(time.perf_counter() - started, 2)
    return {"search_seconds": seconds, "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)}


def ids(start: int, stop: int) -> list[bytes]:
    """Ids of synthetic texts."""
    return [number.to_bytes(16, "big") for number in range(start, stop)]


def unit_vectors(count: int, seed: int) -> Any:
    """Random unit vectors, [count, 384] float32."""
    import numpy as np

    vectors = np.random.default_rng(seed).standard_normal((count, 384), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def best_of(work: Callable[[], object]) -> float:
    """Seconds of one call, warmed up by nothing: the caller repeats."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


PARTS = {"miner": miner, "peak": peak, "million": million, "linear": linear}
CALLS = {call.__name__: call for call in (prepare, mine_theirs, mine_ours, search_share, fill_store, search_store)}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--call"]:
        print(json.dumps(CALLS[sys.argv[2]](*sys.argv[3:])))
    else:
        main()
