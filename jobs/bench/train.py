"""Benchmark of the training step against the layouts that others use, on real texts of real lengths. CPU, no Ray.

    python jobs/bench/train.py --out runs/bench/train.json          # make bench-train

Same machine, weights, texts, global batch, objective (in-batch cross-entropy, temperature 0.05) and bf16 autocast for:
(a) one padded tensor per column, as the published script lays a batch out; (b) sentence-transformers' trainer;
(c) the engine's step over token-budget chunks. Each runs in a process of its own, so peak memory is its own.
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
from pathlib import Path
from typing import Any

import torch
from train_others import padded, sentence_transformers
from train_shared import BATCH, LARGE_BATCH, LONGEST, TEMPERATURE, TIMED, WARM, prepare

STAGE = {
    "global_batch": BATCH,
    "max_tokens": LONGEST,
    "learning_rate": 1e-4,
    "warmup_steps": 0,
    "dtype": "bfloat16",
    "objective": {"temperature": TEMPERATURE, "mask": "none"},
}


def main() -> None:
    """Prepare the texts, run every variant in turn, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("POLYGLOSSA_DATA", "../shared/data"))
    parser.add_argument("--out", default=None, help="JSON file for the figures")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--variant", choices=sorted(VARIANTS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.variant:
        figures = VARIANTS[options.variant](Path(options.folder))
        figures["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        print(json.dumps(figures))
        return
    source = Path(options.data) / "retrieval"
    if not source.is_dir():
        sys.exit(f"{source}: not there. Give the folder of the benchmark data with --data or POLYGLOSSA_DATA.")
    with tempfile.TemporaryDirectory() as folder:
        prepare(source, Path(folder))
        found = {name: run_variant(name, folder, options.threads) for name in VARIANTS}
    figures = ratios(found)
    print(json.dumps(figures))
    if options.out:
        Path(options.out).parent.mkdir(parents=True, exist_ok=True)
        Path(options.out).write_text(json.dumps({**figures, "variants": found, "threads": options.threads}, indent=1))


def ratios(found: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return the figures that the engine is held to."""
    ours, two_pass = found["ours"], found["two_pass"]
    return {
        "samples_per_second": ours["samples_per_second"],
        "speedup_over_padded": ours["samples_per_second"] / found["padded"]["samples_per_second"],
        "speedup_over_sentence_transformers": ours["samples_per_second"]
        / found["sentence_transformers"]["samples_per_second"],
        "padding_share": ours["padding_share"],
        "two_pass_over_single": ours["samples_per_second"] / two_pass["samples_per_second"],
        "overhead_share": ours["overhead_share"],
        "data_wait_share": ours["data_wait_share"],
        "memory_4096_over_256": found["two_pass_4096"]["peak_gib"] / two_pass["peak_gib"],
    }


def run_variant(name: str, folder: str, threads: int) -> dict[str, float]:
    """Run one variant in a process of its own."""
    command = [sys.executable, __file__, "--variant", name, "--folder", folder, "--threads", str(threads)]
    # As training workers run: oneDNN would otherwise keep 1,024 kernels with their buffers, for every variant alike.
    kernels = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "24"}
    environment = os.environ | kernels | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    figures: dict[str, float] = json.loads(output.splitlines()[-1])
    print(f"{name:<24} {figures['samples_per_second']:8.1f} samples/s   peak {figures['peak_gib']:.2f} GiB", flush=True)
    return figures


def ours(
    folder: Path, *, batch: int = BATCH, resident_tokens: int = 1 << 20, warm: int = WARM, timed: int = TIMED
) -> dict[str, float]:
    """(c) The engine's loop: chunks by token budget, graphs kept while they fit `resident_tokens`."""
    from polyglossa.engine.ahead import BatchesAhead
    from polyglossa.engine.backend_plain import OptimizerSettings, PlainBackend
    from polyglossa.engine.embedder import Embedder
    from polyglossa.engine.loop import StepRecord, run_loop
    from polyglossa.engine.objective import build_objective
    from polyglossa.engine.step import Budget
    from polyglossa.engine.stream import FeedSpec, local_batches
    from polyglossa.model.directory import load_backbone
    from polyglossa.recipe.train import StageConfig

    stage = StageConfig.model_validate(STAGE | {"global_batch": batch, "steps": warm + timed}).model_dump()
    settings = OptimizerSettings(betas=(0.9, 0.98), epsilon=1e-8, weight_decay=0.01, clip=1.0)
    embedder = Embedder(load_backbone(str(folder / "model")), dtype=stage["dtype"])
    backend = _Measured(PlainBackend(embedder, settings=settings))
    records: list[StepRecord] = []

    class Keep:
        """Keeps every step's figures; the clock starts after the warm-up."""

        def before_update(self, *_: Any) -> None:
            """Nothing is due."""

        def after_step(self, record: StepRecord) -> None:
            """Keep the record."""
            records.append(record)
            if record.step == warm - 1:
                backend.seconds = 0.0

    run_loop(
        backend,
        BatchesAhead(local_batches(FeedSpec.of_stage(stage, str(folder / "pack")))),
        build_objective(stage["objective"], width=256),
        rate=lambda step: 1e-4,
        budget=Budget(stage["chunk_tokens"], resident_tokens),
        callbacks=[Keep()],
    )
    steady = records[warm:]
    seconds = sum(record.seconds for record in steady)
    return {
        "samples_per_second": sum(record.examples for record in steady) / seconds,
        "padding_share": sum(record.padding for record in steady) / len(steady),
        "data_wait_share": sum(record.data_wait for record in steady) / seconds,
        "overhead_share": 1.0 - backend.seconds / seconds,
        "tokens_per_second": sum(record.tokens for record in steady) / seconds,
    }


class _Measured:
    """A backend that adds up the time of forward, backward and optimizer."""

    def __init__(self, backend: Any) -> None:
        self.seconds = 0.0
        self.embed = self._clocked(backend.embed)
        self.backward = self._clocked(backend.backward)
        self.update = self._clocked(backend.update)

    def _clocked(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def clocked(*args: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return work(*args, **options)
            finally:
                self.seconds += time.perf_counter() - began

        return clocked


VARIANTS: dict[str, Callable[[Path], dict[str, float]]] = {
    "padded": padded,
    "sentence_transformers": sentence_transformers,
    "ours": ours,
    "two_pass": lambda folder: ours(folder, resident_tokens=8192),
    "two_pass_4096": lambda folder: ours(folder, batch=LARGE_BATCH, resident_tokens=8192, warm=1, timed=1),
}

if __name__ == "__main__":
    main()
