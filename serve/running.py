"""Start and stop the application in the Ray that this process is connected to. Everything binds to one address.

with running({"members": [{"name": "small", "path": path}]}, port=8000) as url: …
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray import serve

from serve.app import build

ROOT = str(Path(__file__).resolve().parents[1])


def start(args: dict[str, Any], *, host: str = "127.0.0.1", port: int = 8000) -> str:
    """Start Ray Serve and the application, and wait until every deployment is ready.

    Args:
        args: arguments of `serve.app.build`.
        host: address to bind.
        port: port of the endpoint.

    Returns:
        URL of the endpoint.

    Raises:
        RuntimeError: a deployment did not start.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(
        proxy_location="HeadOnly",
        http_options={"host": host, "port": port},
        logging_config={"log_level": "WARNING", "enable_access_log": False},
        controller_options={"runtime_env": {"env_vars": environment()}},
    )
    serve.run(build(args), name="polyglossa", logging_config={"log_level": "WARNING", "enable_access_log": False})
    return f"http://{host}:{port}"


def stop() -> None:
    """Stop the application and Ray Serve; Ray itself stays."""
    serve.shutdown()


@contextlib.contextmanager
def running(args: dict[str, Any], *, host: str = "127.0.0.1", port: int = 8000) -> Iterator[str]:
    """Have the application up for the time of the block; gives its URL."""
    try:
        yield start(args, host=host, port=port)
    finally:
        stop()


def environment() -> dict[str, str]:
    """Environment of Serve's processes, which all inherit the controller's."""
    paths = [ROOT, os.path.join(ROOT, "platform"), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(path for path in paths if path), "TOKENIZERS_PARALLELISM": "false"}
