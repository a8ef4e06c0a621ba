"""Find what does not fit, and the nearest placement that does: the same devices first, then more of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

from polyglossa.costing.memory import GIB, Footprint, least_states
from polyglossa.recipe import TrainPlacement

_MORE_DEVICES = (1, 2, 4, 8, 16)
_SEARCHED = ("workers", "zero", "compile", "gradient_checkpointing", "resident_tokens")
_USABLE = 0.95  # the allocator's fragments take the rest


@dataclass(frozen=True)
class Misfit:
    """A node that its device cannot hold."""

    node: str
    device: str
    memory_gib: float
    footprint: Footprint
    remedy: str
    least: str = ""
    """What any mixed-precision training of the model would need, where that alone is too much."""

    def __str__(self) -> str:
        """One paragraph with the arithmetic."""
        text = f"{self.node}: needs {self.footprint.arithmetic()}, and {self.device} has {self.memory_gib:g} GiB."
        return " ".join(part for part in (text, self.least, self.remedy) if part)


def fits(footprint: Footprint, memory_gib: float | None) -> bool:
    """Whether a device holds it; a CPU core has no memory of its own."""
    return memory_gib is None or footprint.total <= memory_gib * GIB * _USABLE


def nearest(
    placement: TrainPlacement, measure: Callable[[TrainPlacement], Footprint], memory_gib: float, least_tokens: int
) -> TrainPlacement | None:
    """Find the placement that fits and differs least: fewest more devices, then ZeRO, checkpointing, resident tokens.

    Args:
        placement: what does not fit.
        measure: placement → footprint.
        memory_gib: of a device.
        least_tokens: tokens of one pass, below which resident tokens change nothing.
    """
    return next((other for other in _alternatives(placement, least_tokens) if fits(measure(other), memory_gib)), None)


def _alternatives(placement: TrainPlacement, least_tokens: int) -> Iterator[TrainPlacement]:
    halvings = [placement.resident_tokens]
    while halvings[-1] > least_tokens:
        halvings.append(max(least_tokens, halvings[-1] // 2))
    checkpointing = sorted({placement.gradient_checkpointing, True})
    for more, tokens, checkpoint, zero in sorted(
        product(_MORE_DEVICES, halvings, checkpointing, range(placement.zero, 4)),
        key=lambda case: (case[0], case[2] + case[3] - placement.zero + halvings.index(case[1]) / 4, case[3]),
    ):
        changed = {
            "workers": placement.workers * more,
            "resident_tokens": tokens,
            "gradient_checkpointing": checkpoint,
            "zero": zero,
            "compile": placement.compile and zero < 3,
        }
        yield TrainPlacement.model_validate({**placement.model_dump(), **changed})


def training_remedy(placement: TrainPlacement, found: TrainPlacement | None) -> str:
    """Say what to change in the profile."""
    if found is None:
        most = placement.workers * _MORE_DEVICES[-1]
        return f"No setting of up to {most} such devices holds it; take devices with more memory."
    changes = [
        f"train.{name}: {str(getattr(found, name)).lower()}"
        for name in _SEARCHED
        if getattr(found, name) != getattr(placement, name)
    ]
    return f"Nearest that fits: {', '.join(changes)}."


def least_needed(parameters: int, trained: int, placement: TrainPlacement, memory_gib: float) -> str:
    """The arithmetic of the least that the states need, where a device is too small even for it."""
    world = max(1, placement.workers)
    needed = least_states(parameters, placement.zero, world, trained)
    if needed <= memory_gib * GIB:
        return ""
    parts = [
        f"{size}/{world}" if placement.zero >= stage and world > 1 else str(size)
        for size, stage in ((2, 3), (2, 2), (12, 1))
    ]
    if trained < parameters:
        sum_of = f"{parameters:,} × {parts[0]} + {trained:,} × ({' + '.join(parts[1:])})"
    else:
        sum_of = f"{parameters:,} × ({' + '.join(parts)})"
    return f"Even with weights and gradients in bfloat16 the states alone take {sum_of} bytes = {needed / GIB:.1f} GiB."
