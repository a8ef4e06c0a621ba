"""Measure mining against sentence-transformers and against the machine: `python jobs/bench/mine.py [--parts miner,…]`.

Parts: `miner` (whole process, against `mine_hard_negatives`, on the pairs of `$POLYGLOSSA_DATA` or `../shared/data`),
and those of `search.py`. The model of `miner` is untrained and ranks positives too low for a rule on scores, so both
take the best of the window that are no positives; that the rules agree, too, is tests/mine/test_reference_miner.py's.
The last line is one JSON object.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from search import PARTS as SEARCH_PARTS
from search import THREADS, measure

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("POLYGLOSSA_DATA", ROOT.parent / "shared" / "data"))
FILES = ("jaquad_jpn", "medquad_eng", "amqa_amh")
NEGATIVES, WINDOW = 7, 50
MAX_TOKENS = 512  # few passages are cut


def main() -> None:
    """Run the parts that were asked for, each in a process of its own, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default="miner,peak,million,linear")
    parser.add_argument("--pairs", type=int, default=20_000, help="pairs of the `miner` part")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}
    for part in arguments.parts.split(","):
        figures |= miner(arguments.pairs) if part == "miner" else SEARCH_PARTS[part]()
    print(json.dumps(figures))


def miner(pairs: int) -> dict[str, Any]:
    """Mine the same pairs with the same model by both, whole processes timed, start-up included."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = measure(__file__, "prepare", folder, pairs)
        theirs = {dtype: measure(__file__, "mine_theirs", folder, dtype) for dtype in ("float32", "bfloat16")}
        ours = {dtype: measure(__file__, "mine_ours", folder, dtype) for dtype in ("float32", "bfloat16")}
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
    wanted = {query: set(found) for query, found in left.items()}  # theirs repeats them for every positive of a query
    same = sum(len(found & set(right.get(query, ()))) for query, found in wanted.items())
    return round(same / sum(map(len, wanted.values())), 5)


def prepare(folder: str, pairs: str) -> dict[str, Any]:
    """Write the pairs, a corpus artifact of them, and a small model from a config."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from polyglossa.artifact import ArtifactKey, Draft, produce
    from polyglossa.model.directory import build_model, save_model_directory
    from polyglossa.model.forward import TextModel
    from polyglossa.model.tokenizer import train_tokenizer
    from polyglossa.records import DOCUMENT, PAIR, row_id, text_id

    tables = [pq.read_table(DATA / "retrieval" / f"{name}.parquet", columns=["query", "passage"]) for name in FILES]
    every = pa.concat_tables(tables)
    table = every.take(np.linspace(0, len(every) - 1, min(int(pairs), len(every))).astype(int))
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
    tokenizer = train_tokenizer(table["passage"].to_pylist()[::5], vocabulary=8192, max_tokens=MAX_TOKENS)
    backbone = build_model(
        hidden=192, mlp=384, layers=4, heads=4, kv_heads=2, head_dim=64, vocabulary=8192, max_tokens=MAX_TOKENS,
        eos=tokenizer.eos_token_id, padding=tokenizer.pad_token_id, seed=0,
    )  # fmt: skip
    model = str(Path(folder, "model"))
    save_model_directory(model, TextModel.of(backbone), tokenizer, max_tokens=MAX_TOKENS, matryoshka_widths=(192,))
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
        Dataset.from_list(flat), model, range_max=WINDOW, num_negatives=NEGATIVES, sampling_strategy="top",
        output_format="triplet", verbose=False,
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
    from polyglossa.recipe import Profile
    from polyglossa.recipe.placement import StagePlacement
    from polyglossa.recipe.sections.mine import MineConfig
    from polyglossa.runtime.session import ray_session

    (corpus,) = Path(folder).glob("artifacts/corpus/*")
    inputs = {"corpus": open_artifact(str(corpus))}
    config = MineConfig(
        model=str(Path(folder, "model")),
        top_k=WINDOW,
        relative_margin=None,
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


CALLS = {call.__name__: call for call in (prepare, mine_theirs, mine_ours)}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--call"]:
        print(json.dumps(CALLS[sys.argv[2]](*sys.argv[3:])))
    else:
        main()
