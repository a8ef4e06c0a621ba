"""A step on a GPU, proved without one: no tensor strays, the host waits twice, layers make nothing of Python values."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

HERE = Path(__file__).parent
TORCH = Path(torch.__file__).parent


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What `fake_step.py` saw, by case."""
    if shutil.which("g++") is None or torch.version.cuda is not None:
        pytest.skip("the device that exists in name only takes a compiler, and a torch built for processors")
    library = tmp_path_factory.mktemp("fake") / "fake_cuda.so"
    subprocess.run(
        ["g++", "-std=c++20", "-O0", "-shared", "-fPIC", f"-I{TORCH / 'include'}", str(HERE / "fake_cuda.cpp"),
         f"-L{TORCH / 'lib'}", f"-Wl,-rpath,{TORCH / 'lib'}", "-lc10", "-ltorch_cpu", "-o", str(library)],
        check=True,
    )  # fmt: skip
    paths = os.pathsep.join([str(HERE.parents[1] / "platform"), str(HERE.parent)])
    environment = {**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, "-m", "gpu.fake_step"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {case["name"]: case for case in json.loads(done.stdout.splitlines()[-1])}


CASES = ["whole", "two passes", "4 × in two passes", "taught", "no negatives"]


@pytest.mark.parametrize("case", CASES)
def test_the_host_waits_for_the_device_twice_in_a_step(steps: dict[str, dict[str, Any]], case: str) -> None:
    waits = steps[case]["waits"]
    assert len(waits) <= 2, waits
    assert any("step.py" in place for place in waits), "the loss and its terms are fetched at once"


@pytest.mark.parametrize("case", CASES)
def test_no_operator_mixes_devices(steps: dict[str, dict[str, Any]], case: str) -> None:
    assert steps[case]["mixed"] == []
    assert steps[case]["devices"] == ["cuda:0"]


@pytest.mark.parametrize("case", CASES)
def test_no_layer_makes_a_tensor_from_python_values(steps: dict[str, dict[str, Any]], case: str) -> None:
    assert steps[case]["lists"] == []


@pytest.mark.parametrize("case", CASES)
def test_the_kernel_runs_in_every_layer_forward_and_back_in_bfloat16(
    steps: dict[str, dict[str, Any]], case: str
) -> None:
    kernels = steps[case]["kernels"]
    assert kernels["_varlen_attn"] >= 2
    assert kernels["_varlen_attn_backward"] >= 2
    assert steps[case]["kernel_types"] == ["torch.bfloat16"]


def test_the_bytes_of_a_step_do_not_grow_with_the_batch_but_for_the_table_of_states(
    steps: dict[str, dict[str, Any]],
) -> None:
    """Four times the texts: the graph of 64 tokens at a time, and some copies of 160 states of width 35."""
    small, large = steps["two passes"]["peak"], steps["4 × in two passes"]["peak"]
    table = 4 * 40 * 35 * 4
    assert large < small + 12 * table
    assert steps["4 × whole"]["peak"] > 4 * large
