"""SIGTERM, what clusters send, cleans up as Ctrl-C does: Ray's own handler must not stand in its place."""

import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import psutil
import pytest
import ray._private.node

from polyglossa.errors import PolyglossaError
from polyglossa.runtime import session

SCRIPT = """
import signal, sys
from polyglossa.runtime.session import local_ray, terminate_as_interrupt

try:
    with terminate_as_interrupt(), local_ray(cpus=1, object_store_gib=0.1):
        print("up", flush=True)
        signal.pause()
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_a_local_ray_listens_on_loopback_alone_and_a_terminated_run_leaves_no_process() -> None:
    run = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert run.stdout.readline() == "up\n"
    family = psutil.Process(run.pid).children(recursive=True)
    elsewhere = {
        f"{process.name()} {socket.laddr.ip}:{socket.laddr.port}"
        for process in [psutil.Process(run.pid), *family]
        for socket in process.net_connections(kind="inet")
        if socket.status == psutil.CONN_LISTEN and socket.laddr.ip not in ("127.0.0.1", "::1", "::ffff:127.0.0.1")
    }
    assert elsewhere == set()
    run.send_signal(signal.SIGTERM)
    assert run.wait(60) == 130
    _gone, alive = psutil.wait_procs(family, timeout=30)
    assert family
    assert not alive


@pytest.mark.parametrize("slow", [0, 2, 3])
def test_a_node_that_a_busy_machine_starts_too_slowly_is_started_again(
    slow: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "The current node timed out during startup."
    assert words in Path(ray._private.node.__file__).read_text()
    started = []

    def init(**_: object) -> None:
        started.append(1)
        if len(started) <= slow:
            raise Exception(words)

    monkeypatch.setattr(session.ray, "init", init)
    monkeypatch.setattr(session.ray, "shutdown", lambda: None)
    monkeypatch.setattr(session, "_end_leftovers", nullcontext)  # it would end what other tests have started
    refused = pytest.raises(PolyglossaError, match="too busy") if slow == 3 else nullcontext()
    with refused, session.local_ray(cpus=1, object_store_gib=0.1):
        pass
    assert len(started) == min(slow + 1, 3)
