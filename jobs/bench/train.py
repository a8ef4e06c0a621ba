"""Benchmark of the training step against the layouts that others use, on real texts of real lengths. CPU, no Ray.

    python jobs/bench/train.py --out runs/bench/train.json          # make bench-train

Same machine, weights, texts, global batch, objective (in-batch cross-entropy, temperature 0.05) and precision (bf16
autocast where it is faster than float32) for:
(a) one padded tensor per column, as the published script lays a batch out; (b) sentence-transformers' trainer;
(c) the engine's step over token-budget chunks. Each runs in a process of its own, so peak memory is its own. All take
turns, several times over, with other rows each time: a ratio is that of neighbours in time, and what is told is the
median of the rounds, with the smallest and the largest. The memory of a large global batch is held against that of the
ordinary one over the same rows, once: more rows bring longer texts and other shapes of chunks, whatever the batch.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rivals.training import padded, sentence_transformers
from shared.training import DTYPE, LONGEST, TEMPERATURE, Steps, prepare

STAGE = {
    "max_tokens": LONGEST,
    "learning_rate": 1e-4,
    "warmup_steps": 0,
    "dtype": DTYPE,
    "objective": {"temperature": TEMPERATURE, "mask": "none"},
}
TWO_PASS_TOKENS = 8192
# A step of the padded layouts takes as long as six of the engine's, so each repeat times about as many seconds.
TIMED = {"padded": 1, "sentence_transformers": 1, "ours": 4, "two_pass": 4}
LARGE, SMALL = "two_pass_large", "two_pass_same_rows"

Figures = dict[str, float]


def main() -> None:
    """Prepare the texts, let the variants take turns, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("POLYGLOSSA_DATA", "../shared/data"))
    parser.add_argument("--out", default=None, help="JSON file for the figures")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=3, help="rounds in which every variant has a turn")
    parser.add_argument("--batch", type=int, default=256, help="global batch")
    parser.add_argument("--large-batch", type=int, default=4096, help="global batch whose memory is held against it")
    parser.add_argument("--variant", choices=sorted(VARIANTS), help=argparse.SUPPRESS)
    parser.add_argument("--turn", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.variant:
        steps = steps_of(options.variant, options.turn, options.batch, options.large_batch)
        figures = VARIANTS[options.variant](Path(options.folder), steps)
        figures["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        print(json.dumps(figures))
        return
    source = Path(options.data) / "retrieval"
    if not source.is_dir():
        sys.exit(f"{source}: not there. Give the folder of the benchmark data with --data or POLYGLOSSA_DATA.")
    with tempfile.TemporaryDirectory() as folder:
        last = [steps_of(name, options.repeats - 1, options.batch, options.large_batch) for name in VARIANTS]
        prepare(source, Path(folder), max(steps.stop * steps.batch for steps in last))
        rounds = [
            {
                name: run_variant(name, turn, folder, options)
                for name in (list(TIMED) if turn % 2 else list(TIMED)[::-1])
            }
            for turn in range(options.repeats)
        ]
        large, small = (run_variant(name, 0, folder, options) for name in (LARGE, SMALL))
    figures, spread = summary(rounds)
    figures["memory_4096_over_256"] = large["peak_gib"] / small["peak_gib"]
    print(json.dumps({**figures, "spread": spread}))
    if options.out:
        Path(options.out).parent.mkdir(parents=True, exist_ok=True)
        kept = {**figures, "spread": spread, "rounds": rounds, LARGE: large, SMALL: small, "threads": options.threads}
        Path(options.out).write_text(json.dumps(kept, indent=1))


def steps_of(variant: str, turn: int, batch: int, large_batch: int) -> Steps:
    """Say which steps a variant runs in its n-th turn."""
    if variant == LARGE:
        return Steps(large_batch, first=0, warm=1, timed=1)
    if variant == SMALL:
        return Steps(batch, first=0, warm=large_batch // batch, timed=large_batch // batch)
    timed = TIMED[variant]
    return Steps(batch, first=turn * (1 + timed), warm=1, timed=timed)


def summary(rounds: Sequence[Mapping[str, Figures]]) -> tuple[Figures, dict[str, tuple[float, float]]]:
    """Return the figures that the engine is held to, medians over rounds, and the ends of their range."""
    found = [ratios(one) for one in rounds]
    values = {name: [one[name] for one in found] for name in found[0]}
    for name in TIMED:
        speeds = [one[name]["samples_per_second"] for one in rounds]
        print(
            f"{name:<24} {median(speeds):8.1f} samples/s ({min(speeds):.1f} – {max(speeds):.1f})   "
            f"peak {median(one[name]['peak_gib'] for one in rounds):.2f} GiB"
        )
    return {name: median(found) for name, found in values.items()}, {
        name: (min(found), max(found)) for name, found in values.items()
    }


def ratios(found: Mapping[str, Figures]) -> Figures:
    """Return the figures of one round."""
    ours, two_pass = found["ours"], found["two_pass"]
    speed = ours["samples_per_second"]
    return {
        "samples_per_second": speed,
        "speedup_over_padded": speed / found["padded"]["samples_per_second"],
        "speedup_over_sentence_transformers": speed / found["sentence_transformers"]["samples_per_second"],
        "padding_share": ours["padding_share"],
        "two_pass_over_single": speed / two_pass["samples_per_second"],
        "overhead_share": ours["overhead_share"],
        "data_wait_share": ours["data_wait_share"],
    }


def run_variant(name: str, turn: int, folder: str, options: argparse.Namespace) -> Figures:
    """Run one variant's turn in a process of its own."""
    command = [sys.executable, __file__, "--variant", name, "--folder", folder, "--turn", str(turn)]
    for key in ("threads", "batch", "large_batch"):
        command += [f"--{key.replace('_', '-')}", str(getattr(options, key))]
    # As training workers run: oneDNN would otherwise keep 1,024 kernels with their buffers, for every variant alike.
    kernels = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "24"}
    environment = os.environ | kernels | {"OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1"}
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    figures: Figures = json.loads(output.splitlines()[-1])
    print(f"  {turn + 1}. {name:<22} {figures['samples_per_second']:8.1f} samples/s", flush=True)
    return figures


def ours(folder: Path, steps: Steps, *, resident_tokens: int = 1 << 20) -> Figures:
    """(c) The engine's loop: chunks by token budget, graphs kept while they fit `resident_tokens`."""
    from polyglossa.data.prefetch import PrefetchedBatches
    from polyglossa.data.stream import FeedSpec, local_batches
    from polyglossa.engine.backends.plain import PlainBackend
    from polyglossa.engine.embedder import Embedder
    from polyglossa.engine.loop import Callback, StepRecord, run_loop
    from polyglossa.engine.objective import build_objective
    from polyglossa.engine.stage_spec import ObjectiveSpec, OptimizerSettings
    from polyglossa.engine.step import Budget
    from polyglossa.model.directory import load_model
    from polyglossa.recipe.sections.train import StageConfig

    stage = StageConfig.model_validate(STAGE | {"global_batch": steps.batch, "steps": steps.stop})
    settings = OptimizerSettings(betas=(0.9, 0.98), epsilon=1e-8, weight_decay=0.01, clip=1.0)
    embedder = Embedder(load_model(str(folder / "model")), dtype=stage.dtype)
    backend = _Measured(PlainBackend(embedder, settings=settings))
    records: list[StepRecord] = []

    class Keep(Callback):
        """Keeps every step's figures; the clock starts after the warm-up."""

        def after_step(self, record: StepRecord) -> None:
            """Keep the record."""
            records.append(record)
            if len(records) == steps.warm:
                backend.seconds = 0.0

    run_loop(
        backend,
        PrefetchedBatches(local_batches(FeedSpec.of_stage(stage, str(folder / "pack")), start=steps.first)),
        build_objective(ObjectiveSpec.of(stage.objective), width=256),
        rate=lambda step: 1e-4,
        budget=Budget(stage.chunk_tokens, resident_tokens),
        callbacks=[Keep()],
    )
    steady = records[steps.warm :]
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


def two_pass(folder: Path, steps: Steps) -> Figures:
    """The engine with little memory for graphs: gradients are cached and most passes run twice."""
    return ours(folder, steps, resident_tokens=TWO_PASS_TOKENS)


VARIANTS: dict[str, Callable[[Path, Steps], Figures]] = {
    "padded": padded,
    "sentence_transformers": sentence_transformers,
    "ours": ours,
    "two_pass": two_pass,
    LARGE: two_pass,
    SMALL: two_pass,
}

if __name__ == "__main__":
    main()
