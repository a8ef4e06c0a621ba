"""The quickstart with few steps, few names and one student layer: the same graph, every stage."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECIPE = "jobs/recipes/quickstart.yaml"
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
"""Makes any processor one that emulates bfloat16."""
TINY = (
    "corpus.sources.0.pairs_per_name=1",
    "corpus.max_queries=4000",
    "training.stage1.steps=4",
    "training.stage1.warmup_steps=1",
    "training.stage1.global_batch=32",
    "training.stage2.steps=4",
    "members.small.steps=4",
    "training.stage2.warmup_steps=1",
    "training.stage2.global_batch=32",
    "training.stage2.max_examples=500",
    "members.base.backbone.shape.layers=2",
    "members.small.prune.layers=1",
)


def overrides(storage: str) -> list[str]:
    """Arguments that scale the recipe down, with a storage root."""
    return [item for value in (*TINY, f"storage={storage}") for item in ("--set", value)]


def start(storage: str) -> subprocess.Popen[str]:
    """Start a run on a storage root; Ctrl-C reaches it even where the tests run in the background."""
    return subprocess.Popen(
        [sys.executable, "-m", "polyglossa.cli", "run", RECIPE, *overrides(storage)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "platform")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
