"""What a smaller table costs and saves on Qwen3's own tokenizer, for a corpus of some 200 languages; no model needed.

    POLYGLOSSA_MODELS=… POLYGLOSSA_DATA=… python jobs/bench/studies/vocabulary_qwen3.py  # make bench-vocabulary_qwen3

Reads the training texts under `$POLYGLOSSA_DATA` (retrieval, bitext, classification), at most `--texts` of each
language, and finds the smallest of `--sizes` whose choice of tokens keeps every language within the guard.
`parameters_saved` is what the reference's three smallest members lose with it; `worst` the twenty languages that grow
most.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from polyglossa.errors import UserError
from polyglossa.model.tokenizer import load_tokenizer
from polyglossa.prune.language_texts import Sample, join_samples
from polyglossa.prune.vocabulary import LanguageCost, Shrinker, Usage
from polyglossa.records import row_id

ROWS = 151_936  # of Qwen3's table; its tokenizer uses 151,669 of them
WIDTHS = {"80m": 320, "160m": 640, "330m": 896}


def main() -> None:
    """Choose tokens at several sizes and print what they cost each language."""
    here = Path(__file__).resolve().parents[4] / "shared"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[49_152, 65_536, 81_920, 98_304, 114_688])
    parser.add_argument("--guard", type=float, default=0.02, help="most that a language's tokens may grow (share)")
    parser.add_argument("--texts", type=int, default=2000, help="texts of a language, at most")
    options = parser.parse_args()
    models = Path(os.environ.get("POLYGLOSSA_MODELS") or here / "models") / "qwen3-tokenizer"
    data = Path(os.environ.get("POLYGLOSSA_DATA") or here / "data")
    for folder in (models, data):
        if not folder.is_dir():
            sys.exit(f"vocabulary_qwen3: {folder} is not there; set POLYGLOSSA_MODELS and POLYGLOSSA_DATA.")
    started = time.monotonic()
    backend = load_tokenizer(str(models)).backend_tokenizer
    usage = Usage()
    for language, texts in read_texts(data, options.texts).items():
        usage.read(backend, language, (text for _, text in texts))
    shrinker = Shrinker(json.loads(backend.to_str()), usage)
    kept, refused = smallest(shrinker, options.sizes, options.guard)
    figures = account(shrinker.cost(kept), len(kept))
    seconds = round(time.monotonic() - started, 1)
    print(json.dumps({"guard": options.guard, **figures, "refused": refused, "seconds": seconds}))


def read_texts(data: Path, per_language: int) -> Sample:
    """Sample every language's training texts by hash."""
    files = {
        *(data / "retrieval").glob("*.parquet"),
        *data.glob("bitext/*train*"),
        *data.glob("classification/*train*"),
    }
    return join_samples((_sample(file, per_language) for file in sorted(files)), per_language)


def _sample(file: Path, per_language: int) -> Sample:
    names = pq.read_schema(file).names
    table = pq.read_table(file, columns=[name for name in ("text", "query", "passage", "language") if name in names])
    found: Sample = {}
    for row in table.to_pylist():
        for name in ("text", "query", "passage"):
            if row.get(name):
                found.setdefault(row["language"], []).append((row_id("0", row[name]), row[name]))
    return {language: sorted(set(texts))[:per_language] for language, texts in found.items()}


def smallest(shrinker: Shrinker, sizes: list[int], guard: float) -> tuple[list[int], dict[str, str]]:
    """Find the smallest size within the guard; and why smaller ones are not.

    Raises:
        SystemExit: none of the sizes is.
    """
    refused: dict[str, str] = {}
    for size in sorted(sizes):
        try:
            return shrinker.choose(size, guard), refused
        except UserError as error:
            refused[str(size)] = str(error).partition(": ")[2]
    sys.exit(f"vocabulary_qwen3: no size holds the guard. {refused}")


def account(costs: dict[str, LanguageCost], kept: int) -> dict[str, Any]:
    """Say what was saved and what each language pays."""
    order = sorted(costs, key=lambda language: -costs[language].growth)
    return {
        "languages": len(costs),
        "rows_before": ROWS,
        "rows_kept": kept,
        "parameters_saved": {name: width * (ROWS - kept) for name, width in WIDTHS.items()},
        "largest_growth": round(costs[order[0]].growth, 4),
        "worst": {language: costs[language].to_json() for language in order[:20]},
    }


if __name__ == "__main__":
    main()
