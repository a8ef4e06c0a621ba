"""SIGTERM, what clusters send, cleans up as Ctrl-C does: Ray's own handler must not stand in its place."""

import signal
import subprocess
import sys

import psutil

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
