"""Describe devices: memory and sustained speeds, from a table of usual GPUs or as `calibrate` measured them.

The time of a token is `token_seconds + FLOPs / rate`: the first is what does not grow with the model (lookup, pooling,
loss, Python), the second the matrix products. GPU rates are shares of the makers' dense bf16 peaks: 40 % in training
and 45 % in forward passes, what well-fed packed passes of 1B models and up reach; `calibrate` on such a machine
replaces them.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class Calibration:
    """What was measured on a machine; the defaults are of the two-core machine of `make test` (Zen 4, bf16)."""

    devices: Mapping[str, Device]
    start_scale: float = 1.0
    """Time of starting a worker process, relative to that machine's."""
    core: str = "cpu-core"
    """What a CPU core is where a profile does not say (see `capacity/processor.py`)."""


def _gpu(name: str, memory_gib: float, peak: float, link: float, network: float) -> Device:
    return Device(name, memory_gib, peak * _TRAINING_SHARE, peak * _EMBEDDING_SHARE, 0.0, link, network)


# Peaks, NVLink or PCIe speeds (one direction, effective) and network per GPU from the makers' data sheets.
DEVICES = {
    device.name: device
    for device in (
        _gpu("H200-141G", 141, 989e12, 300e9, 40e9),
        _gpu("H100-80G", 80, 989e12, 300e9, 40e9),
        _gpu("A100-80G", 80, 312e12, 200e9, 20e9),
        _gpu("A100-40G", 40, 312e12, 200e9, 20e9),
        _gpu("L40S", 48, 362e12, 20e9, 10e9),
        _gpu("A10G", 24, 70e12, 10e9, 5e9),
        _gpu("L4", 24, 121e12, 10e9, 5e9),
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
    """Read what `polyglossa calibrate` wrote; None takes the table.

    Raises:
        RecipeError: the file is not one of `calibrate`.
    """
    if path is None:
        return Calibration(DEVICES)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        measured = Device(**data["device"])
        return Calibration({**DEVICES, measured.name: measured}, float(data["start_scale"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"{path}: not a calibration ({type(error).__name__}); run `polyglossa calibrate`.") from None


def write_calibration(path: Path, device: Device, start_scale: float) -> None:
    """Write a measured device where `plan --calibration` reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"device": asdict(device), "start_scale": start_scale}, indent=1), encoding="utf-8")


def measured_device(name: str, *, training_rate: float, embedding_rate: float, token_seconds: float) -> Device:
    """Put measured speeds in the place of the table's; an unknown device starts from `cpu-core`."""
    base = DEVICES.get(name, DEVICES[NATIVE_CORE])
    speeds = {"training_rate": training_rate, "embedding_rate": embedding_rate, "token_seconds": token_seconds}
    return Device(**{**asdict(base), "name": name, **speeds})
