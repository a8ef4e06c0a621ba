"""Measure the machine at hand for `polyglossa plan`: the engine's own step at two sizes, a forward pass, a start.

A token's training time is `token_seconds + FLOPs / rate`; two model sizes give both. CPU cores are measured all at
once, one process each, because cores that share memory and caches are slower together. Seconds, not minutes.
"""

import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from polyglossa.capacity.processor import core_name
from polyglossa.costing.counts import draw_lengths
from polyglossa.costing.devices import Device, device_name, measured_device
from polyglossa.costing.flops import forward_flops, training_flops
from polyglossa.data.batch import RankBatch
from polyglossa.data.collate import GlobalBatch, rank_payloads
from polyglossa.data.plan_types import StepPlan
from polyglossa.data.stream import unpack
from polyglossa.engine.backends.plain import PlainBackend
from polyglossa.engine.embedder import Embedder
from polyglossa.engine.objective import build_objective
from polyglossa.engine.stage_spec import ObjectiveSpec, OptimizerSettings
from polyglossa.engine.step import Budget, run_step
from polyglossa.model.directory import build_model
from polyglossa.model.forward import TextModel
from polyglossa.recipe.sections.backbone import Shape
from polyglossa.recipe.sections.train import ObjectiveConfig
from polyglossa.runtime.precision import Precision, device_facts

_SHAPES = {
    "cpu": (
        Shape(hidden=128, mlp=256, layers=2, heads=4, kv_heads=2, head_dim=32),
        Shape(hidden=256, mlp=512, layers=3, heads=4, kv_heads=2, head_dim=64),
    ),
    "cuda": (
        Shape(hidden=1024, mlp=3072, layers=4, heads=16, kv_heads=8),
        Shape(hidden=2048, mlp=6144, layers=8, heads=16, kv_heads=8),
    ),
}
_VOCABULARY = 4096
_ROWS, _MEAN_TOKENS = {"cpu": 192, "cuda": 512}, {"cpu": 20, "cuda": 150}
_WARM, _TIMED = 1, 3
_CHUNK_TOKENS = {"cpu": 2048, "cuda": 16_384}
_REFERENCE_START_SECONDS = 2.6
"""What `_start_seconds` takes on the machine that the starts in stages' `cost.py` are from."""


@dataclass(frozen=True)
class Measured:
    """A device and how long processes start."""

    device: Device
    start_scale: float


def measure(name: str | None = None) -> Measured:
    """Measure the first GPU, or one CPU core where there is none.

    Args:
        name: name in profiles (`device`); None: what a core here is called, or the GPU of the table.
    """
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    processes = len(os.sched_getaffinity(0)) if kind == "cpu" else 1
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        found = pool.map(_both_shapes, [kind] * processes, chunksize=1)
    small, large = np.median(np.array(found), axis=0).tolist()
    flops = [training_flops(shape, 1.4 * _MEAN_TOKENS[kind]) for shape in _SHAPES[kind]]
    slope = max((large[0] - small[0]) / (flops[1] - flops[0]), 1e-18)
    forward = forward_flops(_SHAPES[kind][1], 1.4 * _MEAN_TOKENS[kind])
    device = measured_device(
        name or _device_name(kind),
        training_rate=1 / slope,
        embedding_rate=forward / large[1],
        token_seconds=max(0.0, small[0] - flops[0] * slope),
    )
    return Measured(device, _start_seconds() / _REFERENCE_START_SECONDS)


def _both_shapes(kind: str) -> list[tuple[float, float]]:
    torch.set_num_threads(1)
    return [_seconds_per_token(kind, shape) for shape in _SHAPES[kind]]


def _device_name(kind: str) -> str:
    if kind == "cpu":
        return core_name(gains_from_bfloat16=device_facts(kind).gains_from_bfloat16)
    return device_name(torch.cuda.get_device_name(0), torch.cuda.get_device_properties(0).total_memory / 2**30)


def _seconds_per_token(kind: str, shape: Shape) -> tuple[float, float]:
    """Seconds of a token in a training step, and in a forward pass."""
    backbone = build_model(**shape.model_dump(), vocabulary=_VOCABULARY, max_tokens=1024, eos=1, padding=0, seed=0).to(
        kind
    )
    settings = OptimizerSettings(betas=(0.9, 0.98), epsilon=1e-8, weight_decay=0.01, clip=1.0)
    dtype = Precision.decide("bfloat16", [device_facts(kind)]).dtype
    backend = PlainBackend(Embedder(TextModel.of(backbone), dtype=dtype), settings=settings)
    objective = build_objective(ObjectiveSpec.of(ObjectiveConfig(matryoshka="published")), width=shape.hidden)
    budget = Budget(pass_tokens=_CHUNK_TOKENS[kind], resident_tokens=8 * _CHUNK_TOKENS[kind])
    batch = _batch(kind).to(kind)

    def train() -> None:
        run_step(backend, batch, objective, budget=budget)
        backend.update(1e-4)

    def embed() -> None:
        with torch.no_grad():
            for one in budget.passes(batch):
                backend.embed([batch.chunks[chunk] for chunk in one])

    return _median_seconds(train, kind) / batch.tokens, _median_seconds(embed, kind) / batch.tokens


def _median_seconds(run: Callable[[], None], kind: str) -> float:
    """Median seconds of a call."""
    seconds = []
    for turn in range(_WARM + _TIMED):
        started = time.perf_counter()
        run()
        if kind == "cuda":
            torch.cuda.synchronize()
        if turn >= _WARM:
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _batch(kind: str) -> RankBatch:
    """One synthetic step: queries, positives and one negative each, no text twice."""
    rng, rows = np.random.default_rng(0), _ROWS[kind]
    length_T = draw_lengths(rng, 3 * rows, _MEAN_TOKENS[kind], 0.8, 1024)
    numbers = np.arange(rows)
    plan = StepPlan(0, 0, "calibration", "retrieval", True, (), 0, 1, 0)
    batch = GlobalBatch(
        plan=plan,
        tokens=rng.integers(2, _VOCABULARY, int(length_T.sum())).astype(np.uint32),
        length_T=length_T,
        query_Q=numbers,
        positive_Q=numbers + rows,
        negatives_QN=(numbers + 2 * rows)[:, None],
        group_Q=numbers,
        source_Q=np.zeros(rows, dtype=np.int64),
        positive_score_Q=np.full(rows, np.nan, dtype=np.float32),
        teacher_TE=None,
    )
    return unpack(rank_payloads(batch, [0], 1, _CHUNK_TOKENS[kind])[0])


def _start_seconds() -> float:
    """Seconds in which a worker's process has imported what it needs."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch, transformers, ray.train.torch"], check=True)
    return time.perf_counter() - started
