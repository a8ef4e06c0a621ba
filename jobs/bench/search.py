"""The search of mining against the machine: `python jobs/bench/search.py [--parts peak,…]`; part of `bench-mine`.

Parts: `peak` (search against the machine's matrix-product peak), `million` (memory of a large search), `linear` (three
corpus sizes). The last line is one JSON object.
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
from typing import Any

THREADS = os.cpu_count() or 1


def main() -> None:
    """Run the parts that were asked for, each in a process of its own, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS))
    figures: dict[str, Any] = {}
    for part in parser.parse_args().parts.split(","):
        figures |= PARTS[part]()
    print(json.dumps(figures))


def measure(script: str, name: str, *arguments: object) -> dict[str, Any]:
    """Run one function of a script in a fresh process; returns what it printed last, and its whole time."""
    started = time.perf_counter()
    command = [sys.executable, script, "--call", name, *map(str, arguments)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"}
    )
    seconds = time.perf_counter() - started
    return {"seconds": seconds} | json.loads(done.stdout.strip().splitlines()[-1])


def peak() -> dict[str, Any]:
    """Search 10,000 queries in 200,000 × 384 vectors, selection included, against the matrix-product peak."""
    return {"search_share_of_peak": measure(__file__, "search_share", 10_000, 200_000)["share"]}


def search_share(queries: str, documents: str) -> dict[str, Any]:
    """Time search and the machine's float32 product in one process, turn about; best of three."""
    import torch

    from polyglossa.mine.documents import InMemory
    from polyglossa.mine.search import search

    torch.set_num_threads(THREADS)
    query, document = unit_vectors(int(queries), 0), unit_vectors(int(documents), 1)
    square = torch.randn(4096, 4096)
    rates, seconds = [], []
    for _ in range(3):
        rates.append(2 * 4096**3 / best_of(lambda: square @ square))
        seconds.append(best_of(lambda: search(query, InMemory(document), 100)))
    flops = 2 * query.shape[0] * document.shape[0] * query.shape[1]
    return {"share": round(flops / min(seconds) / max(rates), 3), "gflops_peak": max(rates) / 1e9}


def million() -> dict[str, Any]:
    """Search 10,000 queries in a store of 1,000,000 × 384 vectors, top 100; the process's peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        measure(__file__, "fill_store", folder, 1_000_000)
        found = measure(__file__, "search_store", folder, 1_000_000, 10_000)
    return {"million_peak_gib": found["peak_gib"], "million_seconds": found["search_seconds"]}


def linear() -> dict[str, Any]:
    """Search the same queries in three sizes of corpus."""
    seconds = {}
    for size in (50_000, 100_000, 200_000):
        with tempfile.TemporaryDirectory() as folder:
            measure(__file__, "fill_store", folder, size)
            seconds[size] = measure(__file__, "search_store", folder, size, 4096)["search_seconds"]
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
    documents = Stored(VectorStore(folder, "synthetic"), pa.array(sorted(ids(0, int(size))), pa.binary(16)))
    query = unit_vectors(int(queries), 10**9)
    started = time.perf_counter()
    search(query, documents, 100)
    seconds = round(time.perf_counter() - started, 2)
    return {"search_seconds": seconds, "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)}


def ids(start: int, stop: int) -> list[bytes]:
    """Ids of synthetic texts: hashes, as the store expects them."""
    from polyglossa.records import text_id

    return [text_id(str(number)) for number in range(start, stop)]


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


PARTS = {"peak": peak, "million": million, "linear": linear}
CALLS = {call.__name__: call for call in (search_share, fill_store, search_store)}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--call"]:
        print(json.dumps(CALLS[sys.argv[2]](*sys.argv[3:])))
    else:
        main()
