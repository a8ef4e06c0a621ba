"""Protects the one decision of a precision: at least what the recipe says, and never what the device emulates."""

import os
import subprocess
import sys

import pytest
import torch

from polyglossa.runtime.precision import DeviceFacts, Precision, device_facts

NATIVE = DeviceFacts("native", gpu=False, native_bfloat16=True, bfloat16_speed=2.6)
SLOW = DeviceFacts("slow", gpu=False, native_bfloat16=True, bfloat16_speed=0.2)
EMULATED = DeviceFacts("emulated", gpu=False, native_bfloat16=False)
GPU = DeviceFacts("gpu", gpu=True, native_bfloat16=True)
OLD_GPU = DeviceFacts("old gpu", gpu=True, native_bfloat16=False)

AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


@pytest.mark.parametrize(
    ("requested", "devices", "computed"),
    [
        ("bfloat16", [NATIVE], "bfloat16"),
        ("bfloat16", [GPU], "bfloat16"),
        ("bfloat16", [EMULATED], "float32"),
        ("bfloat16", [SLOW], "float32"),
        ("bfloat16", [OLD_GPU], "float32"),
        ("bfloat16", [NATIVE, NATIVE, EMULATED], "float32"),
        ("bfloat16", [GPU, OLD_GPU], "float32"),
        ("float32", [NATIVE], "float32"),
        ("float32", [GPU], "float32"),
        ("float64", [GPU], "float64"),
        ("float64", [EMULATED], "float64"),
        ("int8", [EMULATED], "int8"),
        (None, [NATIVE], "float32"),
        (None, [EMULATED], "float32"),
        (None, [GPU], "bfloat16"),
        (None, [OLD_GPU], "float32"),
        (None, [GPU, NATIVE], "float32"),
    ],
)
def test_each_kind_of_device_computes_at_least_what_is_asked(
    requested: str | None, devices: list[DeviceFacts], computed: str
) -> None:
    assert Precision.decide(requested, devices).dtype == computed


@pytest.mark.parametrize("devices", [[NATIVE, EMULATED], [EMULATED, NATIVE]])
def test_the_slowest_device_decides_wherever_it_stands_and_is_named(devices: list[DeviceFacts]) -> None:
    precision = Precision.decide("bfloat16", devices)
    assert (precision.dtype, precision.device) == ("float32", "emulated")
    assert str(precision) == "computing in float32 on emulated: bfloat16 is emulated there"


def test_a_person_is_told_of_bfloat16_and_of_its_absence_and_of_nothing_else() -> None:
    told = {(requested, device.name) for requested in (None, "float32", "bfloat16", "float64") for device in
            (NATIVE, EMULATED, GPU) if Precision.decide(requested, [device]).notable}  # fmt: skip
    assert told == {("bfloat16", "native"), ("bfloat16", "emulated"), ("bfloat16", "gpu"), (None, "gpu")}


def test_this_processor_is_judged_as_torch_judges_it_and_by_a_product() -> None:
    facts = device_facts("cpu")
    assert not facts.gpu
    assert torch.backends.cpu.get_cpu_capability() in facts.name
    assert (facts.bfloat16_speed is not None) == facts.native_bfloat16


def test_the_variables_that_make_an_old_processor_of_any_are_followed() -> None:
    script = (
        "from polyglossa.runtime.precision import *; print(Precision.decide('bfloat16', [device_facts('cpu')]).dtype)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | AVX2, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "float32"
