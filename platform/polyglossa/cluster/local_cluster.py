"""The local twin of a cluster: the spec's groups as fake nodes on this machine, with Ray's real autoscaler (v2).

Nodes are separate raylets with their group's label, so stages find them as they would on a real cluster; they claim the
twin's CPUs and no GPU. Everything lives in one process session and one folder, which `stop_twin` ends and removes. It
never calls `ray stop`, which would end other people's Ray on the machine.
"""

import json
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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from polyglossa.cluster.spec import ClusterSpec
from polyglossa.errors import PolyglossaError
from polyglossa.runtime.ports import LOOPBACK, free_ports

_HEAD_ID = "f" * 51 + "00000"
_PROVIDER = "polyglossa.cluster.local_nodes.LocalNodeProvider"
# Ray replaces 127.0.0.1 in an address by the machine's own, where nothing listens, unless it is told that no other
# machine takes part; the variable is named after the systems on which that is the default.
_ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_START_SECONDS = 60.0
_STOP_SECONDS = 3.0  # a raylet whose control store is gone would wait ten


@dataclass(frozen=True)
class LocalCluster:
    """A running twin."""

    address: str
    """host:port of the control store, for RAY_ADDRESS; all of Ray's own ports are on loopback."""
    dashboard: str
    """URL of the dashboard and of `ray job submit`."""
    token_file: str
    folder: str
    session: int
    """Process session of everything that belongs to it."""

    @property
    def environment(self) -> dict[str, str]:
        """What a client's environment needs to reach it."""
        return {
            "RAY_ADDRESS": self.address,
            "RAY_API_SERVER_ADDRESS": self.dashboard,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": self.token_file,
            **_ON_LOOPBACK,
        }


def local_cluster_config(spec: ClusterSpec, address: str, idle_seconds: float) -> dict[str, Any]:
    """Return the autoscaler's configuration: the spec's groups as node types of the fake provider."""
    types: dict[str, Any] = {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0, "labels": {}}
    }
    for name, group in spec.groups.items():
        types[name] = {
            "resources": {"CPU": group.twin.cpus, "object_store_memory": 200_000_000},
            "node_config": {},
            "labels": spec.labels_of(name),
            "min_workers": 0,
            "max_workers": min(group.max, group.twin.max),
        }
    return {
        "cluster_name": f"{spec.name}-twin",
        "max_workers": sum(node["max_workers"] for node in types.values()),
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": idle_seconds / 60,
        "provider": {
            "type": "external",
            "module": _PROVIDER,
            "launch_multiple": True,
            "head_node_id": _HEAD_ID,
            "gcs_address": address,
        },
        "auth": {},
        "head_node_type": "ray.head.default",
        "available_node_types": types,
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "initialization_commands": [],
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
    }


def start_local_cluster(spec: ClusterSpec, *, idle_seconds: float | None = None) -> LocalCluster:
    """Start the head; nodes come when work asks for them.

    Args:
        spec: the cluster.
        idle_seconds: how long an idle node stays; None takes the spec's.

    Raises:
        PolyglossaError: it did not answer in time; the message holds the end of its log.
    """
    folder = tempfile.mkdtemp(prefix="pgtwin-")  # short: Ray's socket paths must stay under 107 characters
    port, dashboard_port, client_port, agent_port = free_ports(4, "")
    address = f"{LOOPBACK}:{port}"
    token_file = os.path.join(folder, "token")
    Path(token_file).touch(mode=0o600)
    Path(token_file).write_text(secrets.token_hex(32))
    config = os.path.join(folder, "autoscaler.json")
    Path(config).write_text(json.dumps(local_cluster_config(spec, address, idle_seconds or spec.idle_seconds)))
    command = [
        *_ray_command(), "start", "--head", "--block", "--num-cpus=0", "--num-gpus=0",
        f"--node-ip-address={LOOPBACK}", f"--port={port}",
        f"--dashboard-port={dashboard_port}", "--include-dashboard=true",
        "--object-store-memory=200000000", f"--temp-dir={folder}/ray", f"--autoscaling-config={config}",
        f"--ray-client-server-port={client_port}", f"--dashboard-agent-listen-port={agent_port}",
        "--disable-usage-stats",
    ]  # fmt: skip
    with open(os.path.join(folder, "head.log"), "wb") as log:
        process = subprocess.Popen(
            command, env=_environment(token_file), stdout=log, stderr=log, start_new_session=True, cwd=folder
        )
    twin = LocalCluster(address, f"http://127.0.0.1:{dashboard_port}", token_file, folder, process.pid)
    try:
        _wait_until_up(twin, process)
    except BaseException:
        stop_local_cluster(twin)
        raise
    return twin


def stop_local_cluster(twin: LocalCluster) -> None:
    """End every process of the twin and remove its folder."""
    for step in (signal.SIGTERM, signal.SIGKILL):
        for process in _members(twin.session):
            try:
                process.send_signal(step)
            except psutil.NoSuchProcess:
                continue
        deadline = time.monotonic() + _STOP_SECONDS
        while _members(twin.session) and time.monotonic() < deadline:
            time.sleep(0.1)
    shutil.rmtree(twin.folder, ignore_errors=True)


@contextmanager
def running_local_cluster(spec: ClusterSpec, *, idle_seconds: float | None = None) -> Iterator[LocalCluster]:
    """Run a twin for the time of the block."""
    twin = start_local_cluster(spec, idle_seconds=idle_seconds)
    try:
        yield twin
    finally:
        stop_local_cluster(twin)


def _ray_command() -> list[str]:
    beside = Path(sys.executable).with_name("ray")
    return [str(beside)] if beside.exists() else [sys.executable, "-m", "ray.scripts.scripts"]


def _environment(token_file: str) -> Mapping[str, str]:
    own = {
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": _HEAD_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD_ID,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": token_file,
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        **_ON_LOOPBACK,
        # Submitted jobs start with `python`, which must be the one that runs the twin.
        "PATH": _prepend(str(Path(sys.executable).parent), "PATH"),
        # The autoscaler loads its node provider from this package; a job's own upload still comes first in its workers.
        "PYTHONPATH": _prepend(str(Path(__file__).parents[2]), "PYTHONPATH"),
    }
    return {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | own


def _prepend(first: str, variable: str) -> str:
    """Put a folder before what a search path holds."""
    return os.pathsep.join(filter(None, (first, os.environ.get(variable))))


def _wait_until_up(twin: LocalCluster, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{twin.dashboard}/api/gcs_healthz", timeout=2):
                return
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):  # it answers, and asks for the token
                return
        except OSError:
            pass
        time.sleep(0.3)
    log = Path(twin.folder, "head.log").read_text(errors="replace")[-2000:]
    raise PolyglossaError(f"the local twin did not start within {_START_SECONDS:.0f} s: {log}")


def _members(session: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    return found
