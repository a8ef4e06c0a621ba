"""Start or join Ray, quietly. The one place outside the stages that knows how a run reaches its cluster.

Inside a submitted job, or with RAY_ADDRESS set, the run joins that cluster; otherwise it starts a local Ray of its own.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

import ray

from polyglossa.recipe import Profile

_GIB = 1024**3
Result = TypeVar("Result")
_QUIET = {
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_TQDM": "0",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@contextmanager
def ray_session(profile: Profile) -> Iterator[None]:
    """Join the cluster that RAY_ADDRESS names, or start a local Ray, for the time of the block."""
    os.environ.update({name: os.environ.get(name, value) for name, value in _QUIET.items()})
    if os.environ.get("RAY_ADDRESS"):
        with _own_sigterm():
            ray.init(address="auto", log_to_driver=False, logging_level="warning")
        try:
            yield
        finally:
            ray.shutdown()
    else:
        with local_ray(cpus=profile.cpus, object_store_gib=profile.object_store_gib):
            yield


def parallel(
    function: Callable[..., Result], calls: Sequence[tuple[Any, ...]], *, cpus: float
) -> Iterator[tuple[int, Result]]:
    """Run calls of a function as Ray tasks; yield (index of the call, result) as they come.

    Args:
        function: runs in worker processes.
        calls: its arguments.
        cpus: CPUs of each call.
    """
    task = ray.remote(function).options(num_cpus=cpus)
    pending = {task.remote(*arguments): index for index, arguments in enumerate(calls)}
    while pending:
        (ready,), _ = ray.wait(list(pending))
        yield pending.pop(ready), ray.get(ready)


@contextmanager
def local_ray(*, cpus: int | None, object_store_gib: float) -> Iterator[None]:
    """Start a local Ray of its own and shut it down.

    Args:
        cpus: logical CPUs; None takes what the machine has.
        object_store_gib: size of the object store (GiB).
    """
    with _own_sigterm():
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            object_store_memory=int(object_store_gib * _GIB),
            log_to_driver=False,
            logging_level="warning",
        )
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep our handler of SIGTERM over the start of Ray, which puts its own in the place and aborts on the signal."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:  # what Ray's handler makes of a signal that comes meanwhile
        raise KeyboardInterrupt from None
    finally:
        if callable(handler) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Let SIGTERM clean up as Ctrl-C does: no half artifact and no process stays behind."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
