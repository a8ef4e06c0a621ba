"""What a member's precision costs on one core: milliseconds a text, bytes of weights, and held-out retrieval.

    python jobs/bench/studies/precision.py [RECIPE] [--member base]      # make bench-precision: the finished quickstart

Arms are float32, bfloat16 and int8 weights as the endpoint offers them, and `torch.compile` of the first two where a
C++ compiler is on the path. Texts are the held-out documents, cut into passes as a replica cuts them; times are medians
of interleaved repeats. The last line is one JSON object.
"""

import argparse
import json
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from polyglossa.cli.command import errors_in_one_line
from polyglossa.model.encoder import Encoder, finish
from polyglossa.pipeline.find_artifacts import find_artifacts, served_models
from polyglossa.recipe import load_recipe
from polyglossa.recipe.sections.tune import JudgeConfig
from polyglossa.tune.trial.score import Scorer

QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"
TEXTS = 2048


def main() -> None:
    """Measure every arm and print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", nargs="?", type=Path, default=QUICKSTART, help="a recipe that has run (YAML)")
    parser.add_argument("--set", action="append", default=[], metavar="A.B.C=VALUE", help="override one value")
    parser.add_argument("--member", help="the member; default: the first one served")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with errors_in_one_line("bench/precision.py"):
        recipe = load_recipe(options.recipe, options.set)
        models = served_models(recipe)
        path = models[options.member or next(iter(models))]
        judge = Scorer(
            find_artifacts(recipe)["corpus"], dict.fromkeys(recipe.evaluate.heldout), JudgeConfig(resamples=100)
        )
        print(json.dumps({"torch": torch.__version__, **compare(arms(path), judge, options.repeats)}))


def arms(path: str) -> dict[str, Encoder]:
    """Load the model once for each arm."""
    encoders = {dtype: Encoder.load(path, dtype=dtype) for dtype in ("float32", "bfloat16", "int8")}
    if shutil.which("c++") or shutil.which("g++"):
        for dtype in ("float32", "bfloat16"):
            compiled = Encoder.load(path, dtype=dtype)
            compiled.backbone.compile(dynamic=True)
            encoders[f"{dtype} compiled"] = compiled
    return encoders


def compare(encoders: dict[str, Encoder], judge: Scorer, repeats: int) -> dict[str, Any]:
    """Time the arms turn about, and judge each."""
    texts = [text for one, *_ in judge.sets.values() for text in one.corpus["text"].to_pylist()]
    texts = texts[:: max(1, len(texts) // TEXTS)][:TEXTS]
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    state_ND = {}
    for turn in range(repeats + 1):
        for name, encoder in encoders.items():
            budget = 1024 if name.startswith("bfloat16") else 512  # `forward_tokens` of serving/settings.py
            token_ids = encoder.tokenize(texts)
            started = time.perf_counter()
            state_ND[name] = encoder.states(token_ids, chunk_tokens=budget)
            if turn:  # the first turn compiles and allocates
                seconds[name].append(time.perf_counter() - started)
    exact_ND = finish(state_ND["float32"])
    return {
        name: {
            "milliseconds_per_text": round(1000 * statistics.median(seconds[name]) / len(texts), 3),
            "weights_mib": round(weight_bytes(encoder) / 2**20, 2),
            "least_cosine": round(float((finish(state_ND[name]) * exact_ND).sum(1).min()), 6),
            "heldout": round(judge.summary(judge.scores(encoder, instructed=True, part=None)).mean, 4),
        }
        for name, encoder in encoders.items()
    }


def weight_bytes(encoder: Encoder) -> int:
    """Bytes of a model's weights, scales included."""
    return sum(tensor.numel() * tensor.element_size() for tensor in encoder.backbone.state_dict().values())


if __name__ == "__main__":
    main()
