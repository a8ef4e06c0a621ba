"""Embed a corpus by `polyglossa embed` and by sentence-transformers' multi-process pool, in the same run.

    python jobs/bench/embed.py [--model DIRECTORY] [--texts 200000] [--engine torch] [--precision float32]

The texts are the names and docstrings of the serving benchmark, each with a number so that none is twice, as JSONL.
The rival is `SentenceTransformer.encode` with a pool of as many processes as there are cores, a thread each, which
writes one NumPy file. A second run of ours is killed in the middle and taken up again; the peak memory of its workers
is told at a quarter and at the end of the corpus. The last line is one JSON object.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jobs.bench.serve import make_model, make_texts
from jobs.bench.shared.commands import environment, polyglossa, say

RIVAL = """
import json, sys, time
import numpy as np
from sentence_transformers import SentenceTransformer
if __name__ == "__main__":
    path, source, target, cores = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    started = time.perf_counter()
    texts = [json.loads(line)["text"] for line in open(source, encoding="utf-8")]
    model = SentenceTransformer(path, device="cpu")
    pool = model.start_multi_process_pool(["cpu"] * cores)
    np.save(target, model.encode(texts, pool=pool, batch_size=32, show_progress_bar=False))
    model.stop_multi_process_pool(pool)
    print(json.dumps({"seconds": time.perf_counter() - started}))
"""


def main() -> None:
    """Run everything and print the figures."""
    options = _options()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        some = make_texts(4096)
        model = options.model or make_model(folder / "model", some)
        source = folder / "texts.jsonl"
        with source.open("w", encoding="utf-8") as stream:
            for index in range(options.texts):
                text = f"{some[index % len(some)]} {index}"
                stream.write(json.dumps({"id": str(index), "text": text}, ensure_ascii=False) + "\n")
        (folder / "profile.yaml").write_text(_profile(cores))
        theirs = run_rival(model, source, folder, cores)
        say(f"sentence-transformers: {theirs:.0f} s")
        ours, memory = run_ours(model, source, folder / "whole", folder, options)
        say(f"polyglossa embed: {ours:.0f} s, memory {memory}")
        again = kill_and_go_on(model, source, folder / "killed", folder, options, ours)
    figures = {
        "over_multi_process_pool": round(theirs / ours, 3),
        "texts": options.texts,
        "texts_per_second": {
            "polyglossa": round(options.texts / ours),
            "sentence_transformers": round(options.texts / theirs),
        },
        "engine": options.engine,
        "precision": options.precision,
        "peak_mib": memory,
        "killed_and_taken_up": again,
        "cores": cores,
    }
    print(json.dumps(figures))


def run_rival(model: str, source: Path, folder: Path, cores: int) -> float:
    """Seconds of sentence-transformers' pool, from start to file; a process of its own, a thread a worker."""
    script = folder / "rival.py"
    script.write_text(RIVAL)
    quiet = environment() | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), model, str(source), str(folder / "rival.npy"), str(cores)]
    output = subprocess.run(command, env=quiet, capture_output=True, text=True, check=True)
    return float(json.loads(output.stdout.splitlines()[-1])["seconds"])


def run_ours(
    model: str, source: Path, out: Path, folder: Path, options: argparse.Namespace
) -> tuple[float, dict[str, int]]:
    """Seconds of `polyglossa embed` from start to files, Ray's start included, and its workers' peak memory (MiB)."""
    started = time.perf_counter()
    process = subprocess.Popen(_command(model, source, out, folder, options), env=environment(), stdout=sys.stderr)
    units = source.stat().st_size // (4 * 2**20) + 1
    peaks = {"at_a_quarter": 0, "at_the_end": 0}
    while process.poll() is None:
        done = len(list(out.glob("vectors/part-*.parquet")))
        peak = "at_a_quarter" if done <= units // 4 else "at_the_end"
        peaks[peak] = max(peaks[peak], _worker_mib(process.pid))
        time.sleep(1)
    if process.returncode:
        sys.exit(f"polyglossa embed ended with {process.returncode}")
    return time.perf_counter() - started, peaks


def kill_and_go_on(
    model: str, source: Path, out: Path, folder: Path, options: argparse.Namespace, whole_seconds: float
) -> dict[str, Any]:
    """Kill a run when half of its files are there, take it up again, and count what both together hold."""
    command = _command(model, source, out, folder, options)
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, start_new_session=True)
    units = source.stat().st_size // (4 * 2**20) + 1
    while process.poll() is None and len(list(out.glob("vectors/part-*.parquet"))) < units // 2:
        time.sleep(0.2)
    kept = len(list(out.glob("vectors/part-*.parquet")))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    seconds, _ = run_ours(model, source, out, folder, options)
    ids = [row for file in out.glob("vectors/part-*.parquet") for row in pq.read_table(file)["id"].to_pylist()]
    return {
        "files_kept": kept,
        "seconds": round(seconds, 1),
        "share_of_a_whole_run": round(seconds / whole_seconds, 3),
        "every_text_once": sorted(ids) == sorted(map(str, range(options.texts))),
    }


def _worker_mib(pid: int) -> int:
    """Largest memory of a worker that has the model open (MiB)."""
    largest = 0
    for process in psutil.Process(pid).children(recursive=True):
        try:
            if "_Worker" in " ".join(process.cmdline()) or "MapWorker" in " ".join(process.cmdline()):
                largest = max(largest, process.memory_info().rss >> 20)
        except psutil.Error:
            continue
    return largest


def _command(model: str, source: Path, out: Path, folder: Path, options: argparse.Namespace) -> list[str]:
    command = [*polyglossa("embed"), str(source), "--member", model, "--out", str(out)]
    command += ["--id", "id", "--engine", options.engine, "--precision", options.precision]
    return [*command, "--profile", str(folder / "profile.yaml")]


def _profile(cores: int) -> str:
    return f"serve: {{workers: {cores}, cpus: 1, threads: 1}}\n"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="model directory; without it a random one of the quickstart's shape is made")
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--engine", choices=("torch", "onnx", "openvino", "auto"), default="torch")
    parser.add_argument("--precision", choices=("float32", "bfloat16", "int8"), default="float32")
    return parser.parse_args()


if __name__ == "__main__":
    main()
