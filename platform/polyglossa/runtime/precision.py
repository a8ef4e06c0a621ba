"""What a precision of a recipe means on a device: one decision, pure, from what is known of the device.

Torch is loaded where a device is asked: whoever passes a decision on does without.

`bfloat16` in a recipe says "at least bfloat16": where a device emulates it (a processor with AVX2 alone computes a
2048×256×512 product at 1.3 GFLOP/s a core in bfloat16, at 60 in float32), float32 is computed. The decision is one of
placement: it is told in manifests and metrics, and is no part of any address.

    precision = Precision.decide(config.dtype, [device_facts("cpu")])
    Encoder.load(path, dtype=precision.dtype)
"""

import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

_PRODUCT = (512, 256, 512)
_REPEATS = 8


@dataclass(frozen=True)
class DeviceFacts:
    """What is known of a device before anything is decided."""

    name: str
    gpu: bool
    native_bfloat16: bool
    """Whether torch (of a GPU) or oneDNN (of a processor) computes bfloat16 without emulating it."""
    bfloat16_speed: float | None = None
    """Speed of a bfloat16 product over that of a float32 one; None where it was not timed."""

    @property
    def gains_from_bfloat16(self) -> bool:
        """Whether bfloat16 is computed faster than float32."""
        return self.native_bfloat16 and (self.bfloat16_speed is None or self.bfloat16_speed > 1.0)


@dataclass(frozen=True)
class Precision:
    """What is computed in, and why."""

    requested: str | None
    """What the recipe says; None: nothing."""
    dtype: str
    """What is computed: `float32`, `bfloat16`, `float64`, or `int8` weights."""
    device: str
    """The device that decided."""
    reason: str

    @classmethod
    def decide(cls, requested: str | None, devices: Sequence[DeviceFacts]) -> "Precision":
        """Decide for all devices that compute one result; the slowest of them decides.

        Args:
            requested: the recipe's word. None takes bfloat16 where every device is a GPU, and float32 elsewhere.
            devices: what computes; at least one.
        """
        slowest = next((device for device in devices if not device.gains_from_bfloat16), devices[0])
        if requested is None and not all(device.gpu for device in devices):
            return cls(None, "float32", slowest.name, "the recipe leaves it open, and processors take float32")
        if requested not in (None, "bfloat16"):
            return cls(requested, requested, slowest.name, "as the recipe says")
        if not slowest.gains_from_bfloat16:
            how = "is no faster there" if slowest.native_bfloat16 else "is emulated there"
            return cls(requested, "float32", slowest.name, f"bfloat16 {how}")
        reason = "as the recipe says" if requested else "the recipe leaves it open, and GPUs take bfloat16"
        return cls(requested, "bfloat16", slowest.name, reason)

    @property
    def notable(self) -> bool:
        """Whether a person is told: where bfloat16 is computed, or was asked for and is not."""
        return "bfloat16" in (self.requested, self.dtype)

    def plain(self) -> dict[str, Any]:
        """As JSON values, for manifests."""
        return asdict(self)

    def __str__(self) -> str:
        """One line for a person."""
        return f"computing in {self.dtype} on {self.device}: {self.reason}"


def apply_precision(dtype: str) -> None:
    """Set what float32 products of this process are computed in on a GPU.

    What is left in float32 beside bfloat16 (losses, scores, pooling) gains eight times its speed from TensorFloat-32,
    whose factors are still finer than bfloat16's. Who asked for float32 gets float32. Processors are not touched.

    Args:
        dtype: what the process computes in.
    """
    import torch

    torch.backends.cuda.matmul.allow_tf32 = dtype == "bfloat16"
    torch.backends.cudnn.allow_tf32 = dtype == "bfloat16"


@lru_cache(maxsize=8)
def device_facts(device: str) -> DeviceFacts:
    """Find out about a torch device of this machine; times a product for some milliseconds where that is needed."""
    import torch

    if device.startswith("cuda"):
        return DeviceFacts(torch.cuda.get_device_name(device), True, _gpu_computes_bfloat16(device))
    native = bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return DeviceFacts(_processor(), False, native, _bfloat16_speed() if native else None)


def _gpu_computes_bfloat16(device: str) -> bool:
    """Tell whether a GPU has bfloat16 units; torch's own answer is of the current device."""
    import torch

    if torch.version.hip:
        return True
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _processor() -> str:
    """Name the processor and the instructions that torch uses of it."""
    import torch

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def _bfloat16_speed() -> float:
    """Time a small product in both precisions, turn about: oneDNN also emulates on what it calls supported.

    On one thread: on a busy machine two wait for each other for longer than the product takes.
    """
    import torch

    rows, inner, columns = _PRODUCT
    best = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    factors = {kind: (torch.ones(rows, inner, dtype=kind), torch.ones(inner, columns, dtype=kind)) for kind in best}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(_REPEATS):
            for kind, (left, right) in factors.items():
                started = time.perf_counter()
                left @ right
                best[kind] = min(best[kind], time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return best[torch.float32] / best[torch.bfloat16]
