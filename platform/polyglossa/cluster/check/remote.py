"""Check a cluster from outside: submit the check as a job, through its dashboard or through Kubernetes."""

import base64
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from polyglossa.cluster.spec import ClusterSpec
from polyglossa.errors import PolyglossaError, UserError
from polyglossa.runtime.ports import free_port

_FORWARD_SECONDS = 30.0


def submit_check(dashboard: str, spec: Path, profile: Path, options: Sequence[str]) -> int:
    """Run the check as a job of the cluster and show what it prints.

    Args:
        dashboard: URL of the dashboard.
        spec: the cluster's spec; it travels with the job, for images do not hold it.
        profile: the profile; so does it.
        options: further options of the command.

    Returns:
        0 where all is well.
    """
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(spec, Path(folder, "spec.yaml"))
        shutil.copy(profile, Path(folder, "profile.yaml"))
        command = ["python", "-m", "polyglossa.cli", "cluster", "check", "--folder", ".", "--profile", "profile.yaml"]
        beside = Path(sys.executable).with_name("ray")
        ray = [str(beside)] if beside.exists() else [sys.executable, "-m", "ray.scripts.scripts"]
        job = [*ray, "job", "submit", "--address", dashboard, "--working-dir", folder, "--", *command, *options]
        return subprocess.run(job, check=False).returncode


@contextmanager
def forwarded(spec: ClusterSpec, kubeconfig: str, service: str | None) -> Iterator[str]:
    """Forward the head's dashboard to this machine, and put the cluster's token in the environment.

    Raises:
        UserError: kubectl is missing, or the service or the secret is not there.
    """
    kubectl = ["kubectl", "--kubeconfig", kubeconfig, "--namespace", spec.namespace]
    secret = [*kubectl, "get", "secret", spec.authentication.secret, "-o", "jsonpath={.data.auth_token}"]
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=base64.b64decode(_told(secret)).decode())
    port = free_port()
    name = service or f"{spec.name}-head-svc"
    with tempfile.TemporaryFile("w+") as log:
        forward = [*kubectl, "port-forward", f"service/{name}", f"{port}:8265"]
        process = subprocess.Popen(forward, stdout=log, stderr=log)
        try:
            _wait_for(port, process)
            if process.poll() is not None:
                log.seek(0)
                raise UserError(f"service/{name} in {spec.namespace}: {log.read().strip()[-300:]}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _told(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        raise UserError("kubectl is not installed here: install it, or give --address of the dashboard.") from None
    if done.returncode:
        raise UserError(f"{' '.join(command[5:8])}: {done.stderr.strip()[-300:]}")
    return done.stdout


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _FORWARD_SECONDS
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > deadline:
            raise PolyglossaError(f"kubectl port-forward did not open its port within {_FORWARD_SECONDS:.0f} s.")
        time.sleep(0.2)
