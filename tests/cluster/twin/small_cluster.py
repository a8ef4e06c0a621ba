"""A head and its nodes as process sessions of their own, so that a test can kill the head alone and start it again.

The twin's nodes belong to its autoscaler, which ends with the head; on Kubernetes they are pods that stay.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from cluster.schemas import ROOT
from polyglossa.runtime.ports import free_port, free_ports

RAY = str(Path(sys.executable).with_name("ray"))
START_SECONDS = 90
NODE_FOLDER = "TWIN_NODE_FOLDER"
"""Of several nodes of one machine, a driver is given the head, which it dies with; on a cluster, its own node."""


class SmallCluster:
    """A cluster on this machine, with or without Redis behind its control store; whoever joins needs its token."""

    def __init__(self, folder: str, redis: str | None = None) -> None:
        self._folder = folder
        self._sessions: dict[str, subprocess.Popen] = {}
        ports = free_ports(4, "")
        self._port, self._dashboard_port, self._client_port, self._agent_port = ports
        token = Path(folder, "token")
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self._environment = (
            plain
            | {
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN_PATH": str(token),
                "RAY_gcs_rpc_server_reconnect_timeout_s": "300",  # KubeRay gives workers 600
                "PYTHONPATH": os.pathsep.join((str(ROOT / "platform"), str(ROOT / "tests"), str(ROOT))),
                "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
            }
            | ({"RAY_REDIS_ADDRESS": redis} if redis else {})
        )

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to reach it."""
        client = {name: value for name, value in self._environment.items() if name != "RAY_REDIS_ADDRESS"}
        return client | {"RAY_ADDRESS": f"127.0.0.1:{self._port}", "RAY_API_SERVER_ADDRESS": self.dashboard}

    @property
    def dashboard(self) -> str:
        """URL of the dashboard."""
        return f"http://127.0.0.1:{self._dashboard_port}"

    def start_head(self) -> None:
        """Start the head, or start it again where it was.

        A new head's machine does not know of the one before. Here the nodes' processes lie beside it, and Ray would
        take them for a head that runs.
        """
        Path(self._folder, "ray", "ray_current_cluster").unlink(missing_ok=True)
        self._start(
            "head", "--head", "--num-cpus=0", f"--port={self._port}", f"--dashboard-port={self._dashboard_port}",
            "--include-dashboard=true", f"--ray-client-server-port={self._client_port}",
            f"--dashboard-agent-listen-port={self._agent_port}", f"--temp-dir={self._folder}/ray",
        )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert time.monotonic() < deadline, Path(self._folder, "head.log").read_text()[-3000:]
            time.sleep(0.3)

    def start_node(self, name: str, group: str, cpus: int) -> None:
        """Start a node of a group and wait until it is up; its folder tells its drivers which node is theirs."""
        labels, log = f"--labels=group={group}", Path(self._folder, f"{name}.log")
        said_before = log.stat().st_size if log.exists() else 0
        self._start(
            name, f"--address=127.0.0.1:{self._port}", f"--num-cpus={cpus}", labels,
            f"--temp-dir={self._folder}/{name}",
            f"--dashboard-agent-listen-port={free_port('')}",
        )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while b"Ray runtime started" not in (said := log.read_bytes()[said_before:]):
            assert self._sessions[name].poll() is None, said[-3000:].decode()
            assert time.monotonic() < deadline, said[-3000:].decode()
            time.sleep(0.3)

    def kill(self, name: str) -> None:
        """Kill every process of the head or of a node, as a lost machine would."""
        process = self._sessions.pop(name)
        for member in _members(process.pid):
            with suppress(psutil.NoSuchProcess):
                member.send_signal(signal.SIGKILL)
        process.wait(timeout=30)

    def stop(self) -> None:
        """Kill all of it."""
        for name in list(self._sessions):
            self.kill(name)

    def _start(self, name: str, *options: str) -> None:
        command = [RAY, "start", "--block", "--object-store-memory=200000000"]
        environment = self._environment | {NODE_FOLDER: f"{self._folder}/{name}"}
        with open(Path(self._folder, f"{name}.log"), "ab") as log:
            self._sessions[name] = subprocess.Popen(
                [*command, "--disable-usage-stats", *options],
                env=environment, stdout=log, stderr=log, start_new_session=True, cwd=self._folder,
            )  # fmt: skip

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.dashboard}/api/gcs_healthz", timeout=2):
                return True
        except urllib.error.HTTPError as error:
            return error.code in (401, 403)
        except OSError:
            return False


@contextmanager
def small_cluster(redis: str | None = None) -> Iterator[SmallCluster]:
    """Have a cluster, its head up, for the time of the block."""
    folder = tempfile.mkdtemp(prefix="pgsmall-")
    cluster = SmallCluster(folder, redis)
    try:
        cluster.start_head()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_redis() -> Iterator[str]:
    """Run Debian's Redis on loopback, holding all in memory; gives host:port."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", folder]
        with open(Path(folder, "log"), "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            time.sleep(0.5)
            assert process.poll() is None
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=30)


def _members(session: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getsid(process.pid) == session:
                found.append(process)
    return found
