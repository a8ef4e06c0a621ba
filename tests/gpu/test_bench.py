"""`make bench-gpu`: a phase that fails, hangs or kills its process costs itself; every phase runs at tiny sizes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from polyglossa.costing.devices import DEVICES, read_calibration
from polyglossa.errors import RecipeError

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "jobs" / "bench"
ENVIRONMENT = {"PYTHONPATH": str(ROOT / "platform"), "PATH": os.environ["PATH"]}
SCRIPT = """
import os, sys, time
sys.path.insert(0, {bench!r})
from pathlib import Path
from shared.gpu.supervise import Figures, Missing, Phase, run_phases, supervise

def fails(): raise RuntimeError("out of memory\\nsecond line")
def lacks(): raise Missing("deepspeed is not installed")
def hangs(): time.sleep(60)
def dies(): os._exit(3)
phases = [Phase("one", 9, lambda: {{"rate": 1.5}}), Phase("fails", 9, fails), Phase("lacks", 9, lacks),
          Phase("hangs", 1, hangs), Phase("dies", 9, dies), Phase("last", 9, lambda: {{"rate": 2.5}})]
figures = Figures(Path({out!r}))
if len(sys.argv) > 1:
    names = sys.argv[1:]
    run_phases([p for p in phases if p.name in names], figures, ends=time.time() + 60, say=print, works=lambda: True)
else:
    supervise(phases, figures, lambda names: [sys.executable, __file__, *names], ends=time.time() + 60)
"""


def test_a_phase_that_fails_hangs_or_dies_costs_itself(tmp_path: Path) -> None:
    script, out = tmp_path / "session.py", tmp_path / "figures.json"
    script.write_text(SCRIPT.format(bench=str(BENCH), out=str(out)))
    subprocess.run([sys.executable, str(script)], check=True, capture_output=True)
    found = json.loads(out.read_text())["phases"]
    assert found["one"]["rate"] == 1.5
    assert found["fails"]["error"] == "RuntimeError: out of memory"
    assert found["lacks"]["skipped"] == "deepspeed is not installed"
    assert found["hangs"]["error"] == "took longer than 1 s"
    assert found["dies"]["error"] == "its process ended with status 3"
    assert found["last"]["rate"] == 2.5


def test_no_gpu_is_one_line(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    command = [sys.executable, str(BENCH / "gpu.py"), "--out", str(tmp_path / "gpu.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 1
    assert done.stderr.startswith("bench-gpu: ")
    assert len(done.stderr.strip().splitlines()) == 1


def bench_figures(**phases: object) -> dict[str, object]:
    usual: dict[str, object] = {
        "machine": {"gpu": "NVIDIA H200", "memory_gib": 140.0, "bfloat16_tflops": 800.0, "float32_tflops": 50.0},
        "train_0.6b": {"packed": {"tokens_per_second": 100_000.0, "flops_per_token": 3e9},
                       "packed_compiled": {"tokens_per_second": 125_000.0, "flops_per_token": 3e9}},
        "train_80m": {"packed": {"tokens_per_second": 500_000.0, "flops_per_token": 3e8}},
        "serving": {"embedding_flops_per_second": 4e14},
    }  # fmt: skip
    return {"phases": {**usual, **phases}}


def test_a_plan_takes_the_speeds_that_the_benchmark_measured(tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps(bench_figures()))
    device = read_calibration(path).devices["H200-141G"]
    assert DEVICES["H200-141G"].assumed
    assert not device.assumed
    for rate, flops in ((125_000.0, 3e9), (500_000.0, 3e8)):
        assert device.token_seconds + flops / device.training_rate == pytest.approx(1 / rate)
    assert device.embedding_rate == 4e14
    assert device.float32_share == pytest.approx(50 / 800)


def test_a_benchmark_without_rates_is_no_calibration(tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps(bench_figures(train_80m={"error": "OutOfMemoryError"})))
    with pytest.raises(RecipeError, match=r"measured no rates.*make bench-gpu"):
        read_calibration(path)


@pytest.mark.slow
def test_every_phase_runs_at_tiny_sizes(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [sys.executable, str(BENCH / "gpu.py"), "--tiny", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    figures = json.loads(out.read_text())["phases"]
    assert {name: one["error"] for name, one in figures.items() if "error" in one} == {}
    assert len(figures) == 12
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["failed"] == []
    assert summary["gradients_equal"]
