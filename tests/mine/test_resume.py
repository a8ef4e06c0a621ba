"""A mining job that is killed in the middle goes on where it stopped, and its result is identical.

Protects promise 6 of the design. The driver and an actor of the pool are killed for real (SIGKILL) in a process of
their own; `interrupted_mining.py` is that process.
"""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.dataset as pads
import pytest

from polyglossa.embedding import text_chunks
from polyglossa.embedding.text_chunks import distinct, plan_chunks
from polyglossa.records import MINED_PAIR

SCRIPT = Path(__file__).with_name("interrupted_mining.py")


def texts(count: int) -> pa.Table:
    rng = np.random.default_rng(0)
    return distinct(
        pa.array([f"{number} " + "x" * int(size) for number, size in enumerate(rng.integers(0, 900, count))])
    )


def members(chunks: list[pa.Table]) -> list[tuple]:
    return [tuple(chunk.column("text_id").to_pylist()) for chunk in chunks]


@pytest.mark.parametrize("seed", range(5))
def test_what_is_left_is_cut_as_before(monkeypatch, seed):
    monkeypatch.setattr(text_chunks, "CHUNK_BYTES", 1 << 12)
    table = texts(700)
    whole = members(plan_chunks(table, np.zeros(700, bool)))
    done = np.random.default_rng(seed).random(len(whole)) < 0.5
    stored = {key for chunk, gone in zip(whole, done, strict=True) if gone for key in chunk}
    held = np.array([key in stored for key in table.column("text_id").to_pylist()])
    assert members(plan_chunks(table, held)) == [chunk for chunk, gone in zip(whole, done, strict=True) if not gone]


def test_every_missing_text_is_in_one_chunk_and_like_lengths_are_together(monkeypatch):
    monkeypatch.setattr(text_chunks, "CHUNK_BYTES", 1 << 12)
    table = texts(500)
    chunks = plan_chunks(table, np.zeros(500, bool))
    assert sorted(key for chunk in members(chunks) for key in chunk) == sorted(table.column("text_id").to_pylist())
    for chunk in chunks:
        sizes = [len(text) for text in chunk.column("text").to_pylist()]
        assert sizes == sorted(sizes, reverse=True)
        assert max(sizes) <= 2 * max(min(sizes), 16)
        assert sum(sizes) <= 1 << 12


def start(root: Path, corpus: Path, model: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, str(SCRIPT), str(root), str(corpus), model], stdout=subprocess.DEVNULL)


def wait_for_shards(root: Path, count: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while len(list(root.glob("vectors/*/*.arrow"))) < count:
        assert process.poll() is None, "the job ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def result(root: Path) -> list[dict]:
    (pairs,) = root.glob("artifacts/mine/*/pairs")
    return pads.dataset(str(pairs), format="parquet", schema=MINED_PAIR).to_table().to_pylist()


@pytest.mark.slow
def test_killed_driver_and_killed_actor_end_the_same(tmp_path, tiny_corpus, tiny_model):
    corpus, model = Path(tiny_corpus.write(tmp_path / "corpus").uri), tiny_model()
    assert start(tmp_path / "whole", corpus, model).wait(300) == 0

    driver = start(tmp_path / "driver", corpus, model)
    wait_for_shards(tmp_path / "driver", 5, driver)
    driver.kill()
    driver.wait()
    assert not list((tmp_path / "driver").glob("artifacts/mine/*/COMMITTED"))
    assert start(tmp_path / "driver", corpus, model).wait(300) == 0

    job = start(tmp_path / "actor", corpus, model)
    wait_for_shards(tmp_path / "actor", 5, job)
    actors = [child for child in psutil.Process(job.pid).children(recursive=True) if "MapWorker" in child.name()]
    actors = actors or [
        child
        for child in psutil.Process(job.pid).children(recursive=True)
        if any("MapWorker" in word for word in child.cmdline())
    ]
    assert actors
    actors[0].kill()
    assert job.wait(300) == 0

    assert result(tmp_path / "driver") == result(tmp_path / "whole")
    assert result(tmp_path / "actor") == result(tmp_path / "whole")
