"""Start or join Ray, quietly. The one place outside the stages that knows how a run reaches its cluster.

Inside a submitted job, or with RAY_ADDRESS set, the run joins that cluster; otherwise it starts a local Ray of its own.
"""

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType

import psutil
import ray
from ray._private import ray_constants

from polyglossa.errors import PolyglossaError
from polyglossa.recipe import Profile
from polyglossa.runtime.ports import LOOPBACK

_GIB = 1024**3
_LEAVE_SECONDS = 3.0
_STARTS = 3
_TOO_SLOW = "timed out during startup"  # words of ray/_private/node.py
# For this process and the workers that inherit it: calm output, and what must be known before CUDA starts.
_ENVIRONMENT = {
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_TQDM": "0",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "PYTORCH_ALLOC_CONF": "expandable_segments:True",  # passes differ in size, and fixed segments would not be reused
}

# Of a Ray that is started here: its log monitor has nobody to tell, and its agent looks at every process. Beside a
# training on two cores that took 6 % of one.
_ENVIRONMENT_OF_LOCAL_RAY = {"LOG_NAME_UPDATE_INTERVAL_S": "10", "REPORTER_UPDATE_INTERVAL_MS": "20000"}


def quieten() -> None:
    """Keep libraries from drawing bars and from meddling with devices in this process and its children."""
    _set_where_unset(_ENVIRONMENT)


def _set_where_unset(variables: Mapping[str, str]) -> None:
    os.environ.update({name: os.environ.get(name, value) for name, value in variables.items()})


@contextmanager
def ray_session(profile: Profile) -> Iterator[None]:
    """Join the cluster that RAY_ADDRESS names, or start a local Ray, for the time of the block.

    A process that has joined a cluster already keeps it, and leaves it when it likes.
    """
    quieten()
    if ray.is_initialized():
        yield
    elif os.environ.get("RAY_ADDRESS"):
        with _end_leftovers(), _defer_interrupts():
            ray.init(address="auto", log_to_driver=False, logging_level="warning")
        try:
            yield
        finally:
            ray.shutdown()
    else:
        with local_ray(cpus=profile.cpus, object_store_gib=profile.object_store_gib):
            yield


@contextmanager
def local_ray(*, cpus: int | None, object_store_gib: float) -> Iterator[None]:
    """Start a local Ray of its own and shut it down.

    Args:
        cpus: logical CPUs; None takes what the machine has.
        object_store_gib: size of the object store (GiB).

    Raises:
        PolyglossaError: it did not start.
    """
    _set_where_unset(_ENVIRONMENT_OF_LOCAL_RAY)
    _start_local(cpus, object_store_gib)
    try:
        yield
    finally:
        ray.shutdown()


def _start_local(cpus: int | None, object_store_gib: float) -> None:
    """Start; again where a busy machine took longer than the 30 s that Ray gives a node (ray/_private/node.py)."""
    for left in reversed(range(_STARTS)):
        try:
            with _end_leftovers(), _defer_interrupts(), _on_loopback():
                ray.init(
                    address="local",
                    _node_ip_address=LOOPBACK,
                    num_cpus=cpus,
                    include_dashboard=False,
                    object_store_memory=int(object_store_gib * _GIB),
                    log_to_driver=False,
                    logging_level="warning",
                )
            return
        except Exception as error:  # Ray has no type of it
            if _TOO_SLOW not in str(error):
                raise
            if not left:
                raise PolyglossaError(
                    f"Ray did not start: its node took longer than 30 s, {_STARTS} times. The machine is too busy; run "
                    "the same command again when other work on it has ended."
                ) from error


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Let Ray take 127.0.0.1 for this machine's address, so that its own ports listen there alone.

    Ray replaces it by the machine's other address unless it is told that no other machine takes part; the variable is
    named after the systems on which that is the default, and is read when Ray is imported.
    """
    before, variable = ray_constants.ENABLE_RAY_CLUSTER, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    ray_constants.ENABLE_RAY_CLUSTER = False
    own = os.environ.get(variable)
    os.environ[variable] = "0"  # for the processes that it starts
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        if own is None:
            del os.environ[variable]
        else:
            os.environ[variable] = own


@contextmanager
def _defer_interrupts() -> Iterator[None]:
    """Defer SIGINT while Ray starts, then restore our signal handlers.

    Ctrl-C waits until Ray is up: its core crashes when it is interrupted half-way. Of SIGTERM Ray makes an exit while
    it starts, and an abort from then on.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    interrupt = signal.signal(signal.SIGINT, lambda signum, _frame: came.append(signum))
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, interrupt)
        if callable(before):
            signal.signal(signal.SIGTERM, before)
    if came:
        raise KeyboardInterrupt


@contextmanager
def _end_leftovers() -> Iterator[None]:
    """End every process that a broken start of Ray has started: its agents outlive a raylet that dies young."""
    try:
        yield
    except BaseException:
        family = psutil.Process().children(recursive=True)
        ray.shutdown()
        _gone, alive = psutil.wait_procs(family, timeout=_LEAVE_SECONDS)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        raise


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Let SIGTERM clean up as Ctrl-C does: no half artifact and no process stays behind.

    Signals reach the main thread alone; in another the program's own handler stays.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
