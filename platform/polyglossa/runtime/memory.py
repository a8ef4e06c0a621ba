"""Peak memory of a run: the sum of PSS over this process and all its descendants, sampled while the block runs."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_LEAST_SECONDS = 2.0
# The kernel walks every page table for it, which took 8 % of a core every two seconds beside a training on two cores.
_LARGEST_SHARE = 0.02


@dataclass
class Peak:
    """Largest sum of PSS seen so far (GiB), over all and within each stretch of the block."""

    gib: float = 0.0
    stretches: tuple[str, ...] = ()
    by_stretch: dict[str, float] = field(default_factory=dict)

    def enter(self, *stretches: str) -> None:
        """Begin a stretch, or several that overlap: samples count for them from now on."""
        self.stretches = stretches

    def see(self, gib: float) -> None:
        """Take a sample into account."""
        self.gib = max(self.gib, gib)
        for stretch in self.stretches:
            self.by_stretch[stretch] = max(self.by_stretch.get(stretch, 0.0), round(gib, 2))


@contextmanager
def watch_memory() -> Iterator[Peak]:
    """Sample every two seconds, or less often where that takes over a fiftieth of the time; zero without /proc.

    PSS counts a shared page once over its sharers.
    """
    peak = Peak()
    stopped = threading.Event()

    def sample() -> None:
        wait = _LEAST_SECONDS
        while not stopped.wait(wait):
            began = time.monotonic()
            peak.see(total_pss() / 1024**3)
            wait = max(_LEAST_SECONDS, (time.monotonic() - began) / _LARGEST_SHARE)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stopped.set()
        thread.join()


def total_pss() -> int:
    """Sum of PSS over this process and its descendants (bytes)."""
    me = psutil.Process(os.getpid())
    try:
        family = [me, *me.children(recursive=True)]
    except psutil.Error:
        family = [me]
    return sum(_pss(process.pid) for process in family)


def _pss(pid: int) -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # the process has ended, or there is no /proc
        return 0
    line = next((line for line in rollup.splitlines() if line.startswith("Pss:")), "Pss: 0 kB")
    return int(line.split()[1]) * 1024
