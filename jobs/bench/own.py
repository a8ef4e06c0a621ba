"""From one's own file to a better model: `polyglossa init` and `run` with their defaults, on three kinds of files.

    make bench-own                                    # POLYGLOSSA_MODELS and POLYGLOSSA_DATA say where things lie
    python jobs/bench/own.py --parts medquad,tldr     # parts: medquad, tldr, banking77

Each part writes a file as a person would have it (3,000 medical questions with their answers, 4,000 descriptions of
commands, labelled requests), lets `init` hold a part of it out and `run` fine-tune all-MiniLM-L6-v2, and trains the
same model with sentence-transformers on the same pairs, as many of them. All are judged by the held-out part. What was
measured is kept in the folder, so that a run that was stopped goes on; another folder measures anew. The last line is
one JSON object; parts that were not asked for are null.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # before this folder: it holds a `serve` of its own

from jobs.bench.shared.commands import ROOT, polyglossa, say, timed

MODEL = "all-MiniLM-L6-v2"
MEDQUAD_ROWS, TLDR_ROWS = 3000, 4000


def main() -> None:
    """Run the parts that were asked for and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "bench-own", help="folder of all that is made")
    parser.add_argument("--rows", type=int, help="rows of each file; default: 3,000, 4,000 and all")
    parser.add_argument("--set", action="append", default=[], metavar="A.B.C=VALUE", help="override of the recipe")
    options = parser.parse_args()
    data = Path(os.environ.get("POLYGLOSSA_DATA") or ROOT.parent / "shared" / "data")
    models = Path(os.environ.get("POLYGLOSSA_MODELS") or ROOT.parent / "shared" / "models")
    for folder, name in ((data / "retrieval", "POLYGLOSSA_DATA"), (models / MODEL, "POLYGLOSSA_MODELS")):
        if not folder.is_dir():
            print(f"skipped: {folder} is not there; set {name}")
            return
    figures: dict[str, Any] = dict.fromkeys(PARTS)
    for part in options.parts.split(","):
        figures[part] = measure(part, data.resolve(), (models / MODEL).resolve(), options)
        say(f"{part}: {json.dumps(figures[part])}")
    print(json.dumps(figures))


def measure(part: str, data: Path, model: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Let both train on one file, and judge all by its held-out part."""
    folder = options.out.resolve() / part
    folder.mkdir(parents=True, exist_ok=True)
    overrides = [word for one in options.set for word in ("--set", one)]
    file = PARTS[part](data, folder, options.rows)
    found = kept(folder / "ours.json", lambda: ours(part, file, model, folder, overrides))
    return found | kept(folder / "theirs.json", lambda: theirs(part, model, folder, overrides))


def kept(path: Path, measured: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Measure, or read what was measured before."""
    if not path.exists():
        path.write_text(json.dumps(measured()))
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def ours(part: str, file: Path, model: Path, folder: Path, overrides: Iterable[str]) -> dict[str, Any]:
    """Run `init` and `run` with their defaults; what they say of the held-out part, and their minutes."""
    recipe = folder / f"{part}.yaml"
    for before in (recipe, folder / f"{part}.own", folder / "runs"):  # of a run that was stopped: its time is not known
        if before.is_dir():
            shutil.rmtree(before)
        before.unlink(missing_ok=True)
    spent = timed([*polyglossa("init"), file.name, "--model", model, "--name", part, "--yes"], folder)[0]
    spent += timed([*polyglossa("run"), recipe.name, *overrides], folder)[0]
    results = json.loads((folder / "runs" / part / "results.json").read_text())["own"]
    figures = results["tasks"][f"own-{part}"]
    against = figures["against"]
    start = against[results["start"]]
    return {
        "own": figures["own"],
        "before": start["mean"],
        "bm25": against["BM25"]["mean"],
        "minutes": round(spent / 60, 2),
        "gain_low": start["low"],
        "gain_high": start["high"],
        "minutes_training": round(training_seconds(folder, part) / 60, 2),
    }


def theirs(part: str, model: Path, folder: Path, overrides: Iterable[str]) -> dict[str, Any]:
    """Train with sentence-transformers on the same pairs, as many; its score and the minutes of its training."""
    from polyglossa.recipe import load_recipe

    stage = load_recipe(folder / f"{part}.yaml", list(overrides)[1::2]).training["own"]
    assert stage.steps is not None
    out = folder / "sentence-transformers"
    command = [sys.executable, ROOT / "jobs/bench/rivals/own.py", model, folder / f"{part}.own/train/{part}.parquet"]
    _, printed = timed([*command, stage.steps * stage.global_batch, out], folder)
    sets = [*overrides, "--set", "evaluate.heldout=[]"]
    judged = folder / f"judged-{time.time_ns()}"
    timed([*polyglossa("evaluate"), out, "--recipe", f"{part}.yaml", "--out", judged, *sets], folder)
    summary = json.loads(next(judged.rglob("summary.json")).read_text())
    seconds = json.loads(printed.splitlines()[-1])["seconds"]
    return {
        "sentence_transformers": summary["tasks"][f"own-{part}"]["mean"],
        "minutes_sentence_transformers": round(seconds / 60, 2),
    }


def training_seconds(folder: Path, part: str) -> float:
    """Seconds of our training alone, of the run that was made last."""
    manifests = (folder / "runs" / part / "artifacts" / "train").glob("*/manifest.json")
    newest = max(manifests, key=lambda file: file.stat().st_mtime)
    return float(json.loads(newest.read_text())["wall_seconds"])


def medquad(data: Path, folder: Path, rows: int | None) -> Path:
    """Questions with their answers, a JSON object a line."""
    table = pq.read_table(data / "retrieval/medquad_eng.parquet").slice(0, rows or MEDQUAD_ROWS)
    return write_json(folder / "medquad.jsonl", table, {"question": "query", "answer": "passage"})


def tldr(data: Path, folder: Path, rows: int | None) -> Path:
    """What a command does, and the command."""
    table = pq.read_table(data / "retrieval/tldr_eng.parquet").slice(0, rows or TLDR_ROWS)
    return write_json(folder / "tldr.jsonl", table, {"question": "query", "code": "passage"})


def banking77(data: Path, folder: Path, rows: int | None) -> Path:
    """Requests to a bank, and what they are about."""
    table = pq.read_table(data / "classification/banking77_train.parquet")
    return write_json(
        folder / "banking77.jsonl", table.slice(0, rows or len(table)), {"text": "text", "label": "label"}
    )


def write_json(path: Path, table: Any, names: dict[str, str]) -> Path:
    """Write some columns under other names."""
    lines = (json.dumps({name: row[column] for name, column in names.items()}) for row in table.to_pylist())
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


PARTS: dict[str, Callable[[Path, Path, int | None], Path]] = {"medquad": medquad, "tldr": tldr, "banking77": banking77}

if __name__ == "__main__":
    main()
