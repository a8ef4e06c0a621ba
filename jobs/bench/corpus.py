"""Benchmark of the corpus stage: rows per second beside one polars process, one core beside two, memory as data grows.

    python jobs/bench/corpus.py [--gib 2] [--small-gib 0.5] [--polars-gib 0.25] [--data FOLDER]

The real data (`--data`, `$POLYGLOSSA_DATA`, else `../shared/data`) is repeated until the texts have the wanted size;
each copy is salted so that its rows are new, and a tenth of all rows are exact duplicates. Everyone reads the same
Parquet files, normalises queries and passages, drops exact duplicates and writes zstd Parquet. The polars script is one
process with one thread and calls the same `normalise_text`; its speed does not depend on size, so it gets a part.
Neither side's start is timed: modules are loaded and workers are up (they have curated a few rows) before the clock
runs. `memory_growth` is a share: 0.1 is ten percent. The last line is one JSON object.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

_FILE_ROWS = 100_000
_GROUP_ROWS = 25_000
_DUPLICATES = 0.1


def seed_rows(data: Path) -> tuple[list[str], list[str]]:
    """Queries and passages of the real retrieval data, and sentences of the bitext beside each other."""
    import pyarrow.parquet as pq

    queries: list[str] = []
    passages: list[str] = []
    for path in sorted(data.glob("retrieval/*.parquet")):
        table = pq.read_table(path)
        queries += table["query"].to_pylist()
        passages += table["passage"].to_pylist()
    sentences = pq.read_table(data / "bitext/oldi_seed_train.parquet")["text"].to_pylist()
    half = len(sentences) // 2
    return queries + sentences[:half], passages + sentences[half : 2 * half]


def write_data(data: Path, folder: Path, text_bytes: int, file_rows: int = _FILE_ROWS) -> dict[str, int]:
    """Write salted copies of the real rows, a tenth of them duplicates, until the texts have the wanted size."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    queries, passages = seed_rows(data)
    drawn = np.random.default_rng(0)
    written = rows = copy = part = 0
    while written < text_bytes:
        salted = ([f"{text} ({copy})" for text in queries], [f"{text} ({copy})" for text in passages])
        again = drawn.choice(len(queries), int(len(queries) * _DUPLICATES / (1 - _DUPLICATES)), replace=False)
        order = drawn.permutation(np.concatenate([np.arange(len(queries)), again]))
        table = pa.table([pa.array(column).take(pa.array(order)) for column in salted], names=["query", "passage"])
        for start in range(0, table.num_rows, file_rows):
            piece = table.slice(start, file_rows)
            pq.write_table(piece, folder / f"part-{part:05}.parquet", compression="zstd", row_group_size=_GROUP_ROWS)
            part, written, rows = part + 1, written + piece.nbytes, rows + piece.num_rows
            if written >= text_bytes:
                break
        copy += 1
    return {"rows": rows, "bytes": written}


def with_polars(folder: str, out: str) -> dict[str, Any]:
    """One process, one thread: normalise, drop exact duplicates, write."""
    import polars as pl

    from polyglossa.corpus.clean.text import normalise_text

    assert pl.thread_pool_size() == 1
    spent = {"normalise": 0.0}

    def normalise(texts: pl.Series) -> pl.Series:
        started = time.perf_counter()
        mended = pl.Series([normalise_text(text) for text in texts.to_list()])
        spent["normalise"] += time.perf_counter() - started
        return mended

    started = time.perf_counter()
    frames = [
        pl.read_parquet(path).with_columns(pl.col("query", "passage").map_batches(normalise, return_dtype=pl.String))
        for path in sorted(Path(folder).glob("*.parquet"))
    ]
    table = pl.concat(frames).filter((pl.col("query") != "") & (pl.col("passage") != ""))
    table.unique(["query", "passage"], keep="first", maintain_order=True).write_parquet(out, compression="zstd")
    seconds = time.perf_counter() - started
    share = _ftfy_share(pl.read_parquet(sorted(Path(folder).glob("*.parquet"))[0]))
    return {"seconds": seconds, "ftfy_share": share * spent["normalise"] / seconds}


def _ftfy_share(frame: Any) -> float:
    """Share of normalising that is ftfy's own, from the texts of one file."""
    from ftfy import fix_encoding

    from polyglossa.corpus.clean.text import normalise_text

    texts = [*frame["query"].to_list(), *frame["passage"].to_list()]
    seconds: list[float] = []
    for rule in (fix_encoding, normalise_text):
        started = time.perf_counter()
        for text in texts:
            rule(text)
        seconds.append(time.perf_counter() - started)
    return seconds[0] / seconds[1]


def with_stage(folder: str, few: str, out: str, cpus: int) -> dict[str, Any]:
    """The corpus stage on a local Ray with so many CPUs; `few` holds the rows that workers start with."""
    from polyglossa.runtime.session import local_ray

    peak = _Peak()
    with local_ray(cpus=cpus, object_store_gib=0.3), peak:
        curate(few, f"{out}-few")
        started = time.perf_counter()
        counts = curate(folder, out)
        seconds = time.perf_counter() - started
    shutil.rmtree(f"{out}-few")
    return {"seconds": seconds, "peak_gib": peak.gib, "counts": counts}


def curate(folder: str, out: str) -> dict[str, Any]:
    """Make a corpus artifact of the files of a folder; what it counted."""
    from polyglossa.artifact import ArtifactKey, produce
    from polyglossa.corpus import run as stage
    from polyglossa.recipe.load import validate
    from polyglossa.recipe.placement import StagePlacement
    from polyglossa.recipe.sections.corpus import CorpusConfig

    source = {
        "kind": "pairs",
        "name": "bench",
        "task": "retrieval",
        "files": [f"{folder}/*.parquet"],
        "language": "und",
    }
    config = validate(CorpusConfig, {"sources": [source], "languages": {"checked_share": 0.0}}, "benchmark")
    key = ArtifactKey(stage.STAGE, "corpus", stage.REVISION, config.model_dump(mode="json"))
    artifact = produce(out, key, lambda draft: stage.run(config, {}, draft, StagePlacement()))
    return dict(artifact.counts)


class _Peak:
    """Largest sum of PSS over this process and all below it."""

    def __init__(self) -> None:
        self.gib = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "_Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            self.gib = max(self.gib, sum(_pss()) / 2**30)


def _pss() -> Iterator[int]:
    here = psutil.Process()
    for process in [here, *here.children(recursive=True)]:
        try:
            yield process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue


def apart(task: Callable[..., dict[str, Any]], *arguments: Any, cores: int) -> dict[str, Any]:
    """Run a task in a fresh process that may use so many cores."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, _prepare, (cores,)) as pool:
        return pool.apply(task, arguments)


def _prepare(cores: int) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]  # Ray starts children


def main() -> None:
    """Write the data, run everyone, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--small-gib", type=float, default=0.5)
    parser.add_argument("--polars-gib", type=float, default=0.25)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("POLYGLOSSA_DATA", "../shared/data")))
    chosen = parser.parse_args()
    os.environ.update(POLARS_MAX_THREADS="1", OMP_NUM_THREADS="1")
    work = Path(tempfile.mkdtemp(prefix="bench-corpus-"))
    try:
        print(json.dumps(measure(chosen, work)))
    finally:
        shutil.rmtree(work)


def measure(chosen: argparse.Namespace, work: Path) -> dict[str, Any]:
    """All figures."""
    sizes = {"large": chosen.gib, "small": chosen.small_gib, "polars": chosen.polars_gib}
    data = {name: write_data(chosen.data, work / name, int(gib * 2**30)) for name, gib in sizes.items()}
    write_data(chosen.data, work / "few", 2**21, file_rows=500)
    polars = apart(with_polars, str(work / "polars"), str(work / "polars.parquet"), cores=1)
    print(f"polars, one thread: {data['polars']['rows'] / polars['seconds']:,.0f} rows/s", flush=True)
    runs: dict[str, dict[str, Any]] = {}
    for name, size, cores in (("one", "small", 1), ("two_small", "small", 2), ("two", "large", 2)):
        folders = [str(work / folder) for folder in (size, "few", f"out-{name}")]
        runs[name] = apart(with_stage, *folders, cores, cores=cores)
        runs[name]["rows_per_second"] = data[size]["rows"] / runs[name]["seconds"]
        runs[name]["mb_per_second"] = data[size]["bytes"] / runs[name]["seconds"] / 1e6
        print(f"{name}: {runs[name]}", flush=True)
        shutil.rmtree(work / f"out-{name}")
    polars_rows_per_second = data["polars"]["rows"] / polars["seconds"]
    return {
        "rows_per_second_over_polars": runs["two"]["rows_per_second"] / polars_rows_per_second,
        "two_cores_over_one": runs["two_small"]["rows_per_second"] / runs["one"]["rows_per_second"],
        "memory_growth": runs["two"]["peak_gib"] / runs["two_small"]["peak_gib"] - 1,
        "rows_per_second": runs["two"]["rows_per_second"],
        "mb_per_second": runs["two"]["mb_per_second"],
        "polars_rows_per_second": polars_rows_per_second,
        "polars_mb_per_second": data["polars"]["bytes"] / polars["seconds"] / 1e6,
        "polars_ftfy_share": polars["ftfy_share"],
        "peak_gib": {"small": runs["two_small"]["peak_gib"], "large": runs["two"]["peak_gib"]},
        "data": data,
    }


if __name__ == "__main__":
    main()
