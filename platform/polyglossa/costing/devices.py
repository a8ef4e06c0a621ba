"""Describe devices: memory and sustained speeds, from a table of usual GPUs or as `calibrate` measured them.

The time of a token is `token_seconds + FLOPs / rate`: the first is what does not grow with the model (lookup, pooling,
loss, Python), the second the matrix products. GPU rates are assumed: shares of the makers' dense bf16 peaks, 40 % in
training and 45 % in forward passes, what well-fed packed passes of 1B models and up reach; `make bench-gpu` or
`calibrate` on such a machine replaces them.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from polyglossa.errors import RecipeError
from polyglossa.recipe import StagePlacement

_TRAINING_SHARE, _EMBEDDING_SHARE = 0.40, 0.45
NATIVE_CORE, FLOAT32_CORE = "cpu-core", "cpu-core-float32"
"""Cores that compute bfloat16, and those that emulate it."""


@dataclass(frozen=True)
class Device:
    """One GPU, or one CPU core."""

    name: str
    memory_gib: float | None
    """Memory of its own; None: a CPU core, which shares the machine's."""
    training_rate: float
    """FLOP/s of a training step, forward and backward."""
    embedding_rate: float
    """FLOP/s of a forward pass."""
    token_seconds: float = 0.0
    """Seconds of a token in training, whatever the model's size."""
    link: float = 40e9
    """Bytes/s between devices of one node."""
    network: float = 40e9
    """Bytes/s of a device to another node."""
    bfloat16: bool = True
    """Whether it computes in bfloat16 where a recipe says so; if not, in float32."""
    float32_share: float = 1.0
    """Speed in float32 (TensorFloat-32 is not it) over that in bfloat16."""
    assumed: bool = False
    """Whether its speeds come from a data sheet; a plan says so."""


@dataclass(frozen=True)
class Calibration:
    """What was measured on a machine; the defaults are of the two-core machine of `make test` (Zen 4, bf16)."""

    devices: Mapping[str, Device]
    start_scale: float = 1.0
    """Time of starting a worker process, relative to that machine's."""
    core: str = "cpu-core"
    """What a CPU core is where a profile does not say (see `capacity/processor.py`)."""


def _gpu(name: str, memory_gib: float, peak: float, float32: float, link: float, network: float) -> Device:
    rates = (peak * _TRAINING_SHARE, peak * _EMBEDDING_SHARE, 0.0)
    return Device(name, memory_gib, *rates, link, network, float32_share=float32 / peak, assumed=True)


# Peaks in bfloat16 and float32, NVLink or PCIe speeds (one direction, effective) and network per GPU, from the makers'
# data sheets.
DEVICES = {
    device.name: device
    for device in (
        _gpu("H200-141G", 141, 989e12, 67e12, 300e9, 40e9),
        _gpu("H100-80G", 80, 989e12, 67e12, 300e9, 40e9),
        _gpu("A100-80G", 80, 312e12, 19.5e12, 200e9, 20e9),
        _gpu("A100-40G", 40, 312e12, 19.5e12, 200e9, 20e9),
        _gpu("L40S", 48, 362e12, 91.6e12, 20e9, 10e9),
        _gpu("A10G", 24, 70e12, 31.2e12, 10e9, 5e9),
        _gpu("L4", 24, 121e12, 30.3e12, 10e9, 5e9),
        Device(NATIVE_CORE, None, 131e9, 190e9, 30e-6, 2e9, 1e9),
        # AVX2 without AVX-512: `make bench-processor` and the quickstart under its variables.
        Device(FLOAT32_CORE, None, 50e9, 60e9, 30e-6, 2e9, 1e9, bfloat16=False),
    )
}


def device_of(placement: StagePlacement, calibration: Calibration) -> Device:
    """Return what a stage's workers compute on.

    Raises:
        RecipeError: the profile names a device that neither the table nor the calibration knows.
    """
    name = placement.device or ("H100-80G" if placement.gpus else calibration.core)
    if name not in calibration.devices:
        raise RecipeError(
            f"device: {name!r} is not one of {', '.join(calibration.devices)}; run `polyglossa calibrate`."
        )
    return calibration.devices[name]


def read_calibration(path: Path | None) -> Calibration:
    """Read what `polyglossa calibrate` or `make bench-gpu` wrote; None takes the table.

    Raises:
        RecipeError: the file is neither, or a benchmark whose phases brought no rates.
    """
    if path is None:
        return Calibration(DEVICES)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if "phases" in data:
            measured, start_scale = device_of_bench(data), 1.0
        else:
            measured, start_scale = Device(**data["device"]), float(data["start_scale"])
        return Calibration({**DEVICES, measured.name: measured}, start_scale)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(
            f"{path}: not a calibration ({type(error).__name__}: {error}); run `polyglossa calibrate` or "
            "`make bench-gpu`."
        ) from None


def device_of_bench(data: Mapping[str, Any]) -> Device:
    """Read a device's speeds out of what `make bench-gpu` measured, under the name that profiles call it by.

    A token's time is `token_seconds + FLOPs / rate`; steps of two sizes give both.

    Raises:
        ValueError: the phases that measure them did not come to their end.
    """
    phases = data["phases"]
    machine, large, small, serving = (phases.get(name, {}) for name in _RATE_PHASES)
    steps = [_fastest(large), _fastest(small)]
    if "gpu" not in machine or None in steps or "embedding_flops_per_second" not in serving:
        raise ValueError(f"its phases {', '.join(_RATE_PHASES)} measured no rates")
    (large_seconds, large_flops), (small_seconds, small_flops) = ((step[0], step[1]) for step in steps if step)
    slope = (large_seconds - small_seconds) / (large_flops - small_flops)
    fixed = max(0.0, small_seconds - small_flops * slope) if slope > 0 else 0.0
    name = device_name(machine["gpu"], machine["memory_gib"])
    base = DEVICES.get(name) or replace(DEVICES["L4"], name=name, memory_gib=machine["memory_gib"])
    return replace(
        base,
        training_rate=large_flops / (large_seconds - fixed),
        embedding_rate=serving["embedding_flops_per_second"],
        token_seconds=fixed,
        float32_share=machine["float32_tflops"] / machine["bfloat16_tflops"],
        assumed=False,
    )


_RATE_PHASES = ("machine", "train_0.6b", "train_80m", "serving")
_PACKED = ("packed", "packed_compiled")


def _fastest(phase: Mapping[str, Any]) -> tuple[float, float] | None:
    """Seconds and FLOPs of a token of the fastest packed way; None where none came to its end."""
    done = [phase[way] for way in _PACKED if "tokens_per_second" in phase.get(way, {})]
    if not done:
        return None
    best = max(done, key=lambda way: way["tokens_per_second"])
    return 1 / best["tokens_per_second"], float(best["flops_per_token"])


def device_name(title: str, memory_gib: float) -> str:
    """Return the table's name of a GPU by what its driver calls it; one that is not in it keeps the driver's."""
    a100 = "A100-80G" if memory_gib > 60 else "A100-40G"
    known = {"H200": "H200-141G", "H100": "H100-80G", "A100": a100, "L40S": "L40S", "A10G": "A10G", "L4": "L4"}
    plain = title.replace("NVIDIA ", "").replace(" ", "-")
    return next((name for part, name in known.items() if part in plain.split("-")), plain)


def write_calibration(path: Path, device: Device, start_scale: float) -> None:
    """Write a measured device where `plan --calibration` reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"device": asdict(device), "start_scale": start_scale}, indent=1), encoding="utf-8")


def measured_device(name: str, *, training_rate: float, embedding_rate: float, token_seconds: float) -> Device:
    """Put measured speeds in the place of the table's; an unknown device starts from `cpu-core`."""
    base = DEVICES.get(name, DEVICES[NATIVE_CORE])
    return replace(
        base,
        name=name,
        training_rate=training_rate,
        embedding_rate=embedding_rate,
        token_seconds=token_seconds,
        assumed=False,
    )
