"""Measure what an export gains and keeps: milliseconds a text on one core, cosine, retrieval and classification.

    python jobs/bench/export.py [--model DIRECTORY]... [--texts 192] [--queries 300] [--data DIRECTORY]

Models: MiniLM of `$POLYGLOSSA_MODELS` (else `../shared/models`) where it is there, and those named. Each is exported to
ONNX (float32, int8), OpenVINO (int8) and GGUF (F16); all run the same texts of XQuAD-English one by one in one process
with one thread, in turns, so that a busy moment meets all of them. Quality is nDCG@10 of XQuAD-English and the accuracy
of nearest centroids on banking77, both as a share of the encoder's. The last line is one JSON object.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from polyglossa.errors import DataError
from polyglossa.export.padded_encoder import open_onnx, open_openvino
from polyglossa.export.write import export_model
from polyglossa.model.encoder import Encoder
from polyglossa.vectors import finish

ROUNDS = 5
States = Callable[[Sequence[Sequence[int]]], np.ndarray]


def main() -> None:
    """Measure every model and print the figures."""
    options = _options()
    torch.set_num_threads(1)
    models = _models(options)
    if not models:
        sys.exit("no model: give --model DIRECTORY, or set POLYGLOSSA_MODELS to a folder with all-MiniLM-L6-v2.")
    data = Data(options.data, options.queries, options.texts)
    found = {_name(path): measure(path, data) for path in models}
    first = next(iter(found.values()))
    figures = {name: first[name] for name in ("onnx_int8_over_torch_float32", "int8_retrieval_kept", "gguf_cosine")}
    print(json.dumps(figures | {"vnni": _has_vnni(), "models": found}))


def _name(path: str) -> str:
    """Call a model by its folder; a member of a family lies in its artifact's folder `model`."""
    folder = Path(path)
    return folder.parent.name if folder.name == "model" else folder.name


class Data:
    """Texts to time, a search and a classification.

    Args:
        folder: of the shared data.
        queries: of the search.
        texts: that are timed.
    """

    def __init__(self, folder: Path, queries: int, texts: int) -> None:
        parts = {}
        for part in ("queries", "corpus", "qrels"):
            table = pq.read_table(folder / "eval" / "retrieval" / "xquad" / f"{part}.parquet")
            parts[part] = table.filter(pc.equal(table["subset"], "xquad_eng"))
        self.queries = parts["queries"]["text"].to_pylist()[:queries]
        asked = parts["queries"]["query_id"].to_pylist()[:queries]
        self.documents = parts["corpus"]["text"].to_pylist()
        places = {one: row for row, one in enumerate(parts["corpus"]["doc_id"].to_pylist())}
        wanted = dict(zip(*(parts["qrels"][name].to_pylist() for name in ("query_id", "doc_id")), strict=True))
        self.answers = np.array([places[wanted[one]] for one in asked])
        table = pq.read_table(folder / "eval" / "classification" / "banking77_test.parquet")
        self.rows, self.labels = table["text"].to_pylist(), np.array(table["label"].to_pylist())
        self.timed = [*self.queries[: texts * 3 // 4], *self.documents[: texts - texts * 3 // 4]]


def measure(path: str, data: Data) -> dict[str, Any]:
    """Export one model, time the exports in turns, and hold their quality to the encoder's."""
    encoder = Encoder.load(path)
    with tempfile.TemporaryDirectory() as place:
        runs: dict[str, States] = {"torch_float32": lambda tokens: encoder.states(tokens).numpy()}
        refused: dict[str, str] = {}
        gguf = None
        for form, weights in (("onnx", "float32"), ("onnx", "int8"), ("openvino", "int8"), ("gguf", "F16")):
            name = f"{form}_{weights}"
            try:
                (file,) = export_model(path, form, f"{place}/{name}", weights=(weights,))["files"]
            except DataError as refusal:  # what falls short of its promise is not written
                refused[name] = str(refusal)
                continue
            if form == "gguf":
                gguf = file["panel"]["least_cosine"]
            else:
                opened = {"onnx": open_onnx, "openvino": open_openvino}[form]
                runs[name] = opened(Path(place, name, file["file"])).states
        tokens = encoder.tokenize(data.timed)
        milliseconds = time_in_turns(runs, tokens)
        quality = {name: judge(run, encoder, data) for name, run in runs.items()}
    ours = quality["torch_float32"]
    kept = {
        name: {"xquad_eng": one["ndcg"] / ours["ndcg"], "banking77": one["accuracy"] / ours["accuracy"]}
        for name, one in quality.items()
    }
    fast = "onnx_int8" in runs
    return {
        "onnx_int8_over_torch_float32": (
            round(milliseconds["torch_float32"] / milliseconds["onnx_int8"], 3) if fast else None
        ),
        "int8_retrieval_kept": round(kept["onnx_int8"]["xquad_eng"], 4) if fast else None,
        "gguf_cosine": gguf,
        "refused": refused,
        "tokens_a_text": round(float(np.mean([len(one) for one in tokens])), 1),
        "milliseconds_a_text": {name: round(value, 3) for name, value in milliseconds.items()},
        "kept": {name: {task: round(value, 4) for task, value in one.items()} for name, one in kept.items()},
        "least_cosine": {name: round(cosine(quality, name), 5) for name in quality},
    }


def time_in_turns(runs: dict[str, States], tokens: Sequence[Sequence[int]]) -> dict[str, float]:
    """Milliseconds a text, one text a call: of each text the best of some rounds, in which all runs take turns."""
    best = {name: np.full(len(tokens), np.inf) for name in runs}
    for _ in range(ROUNDS):
        for row, one in enumerate(tokens):
            for name, run in runs.items():
                started = time.perf_counter()
                run([one])
                best[name][row] = min(best[name][row], time.perf_counter() - started)
    return {name: 1000 * float(seconds.mean()) for name, seconds in best.items()}


def judge(run: States, encoder: Encoder, data: Data) -> dict[str, Any]:
    """NDCG@10 of the search and accuracy of nearest centroids, odd rows against those of even ones."""
    query_QD, document_ND, row_ND = (
        finish(run(encoder.tokenize(texts))) for texts in (data.queries, data.documents, data.rows)
    )
    rank_QR = np.argsort(-(query_QD @ document_ND.T), axis=1, kind="stable")[:, :10]
    gain_QR = (rank_QR == data.answers[:, None]) / np.log2(np.arange(2, 12))
    names = sorted(set(data.labels))
    centre_CD = finish(np.stack([row_ND[::2][data.labels[::2] == name].mean(0) for name in names]))
    guessed = np.array(names)[(row_ND[1::2] @ centre_CD.T).argmax(1)]
    return {
        "ndcg": float(gain_QR.sum(1).mean()),
        "accuracy": float((guessed == data.labels[1::2]).mean()),
        "vectors": np.concatenate([query_QD, document_ND]),
    }


def cosine(quality: dict[str, dict[str, Any]], name: str) -> float:
    """Least cosine of a run's vectors to the encoder's over XQuAD-English."""
    return float((quality[name]["vectors"] * quality["torch_float32"]["vectors"]).sum(1).min())


def _has_vnni() -> bool:
    info = Path("/proc/cpuinfo")
    return info.exists() and ("avx512_vnni" in info.read_text() or "avx_vnni" in info.read_text())


def _models(options: argparse.Namespace) -> list[str]:
    known = Path(os.environ.get("POLYGLOSSA_MODELS", "../shared/models")) / "all-MiniLM-L6-v2"
    return [*([str(known)] if (known / "config.json").is_file() else []), *(options.model or ())]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="model directory; repeat for more")
    parser.add_argument("--texts", type=int, default=192, help="texts that are timed")
    parser.add_argument("--queries", type=int, default=300, help="queries of the search")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("POLYGLOSSA_DATA", "../shared/data")))
    return parser.parse_args()


if __name__ == "__main__":
    main()
