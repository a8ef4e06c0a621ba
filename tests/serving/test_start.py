"""An endpoint that cannot start says why in one line, though it is a replica or a proxy that finds out."""

import json
import shutil
import socket
from pathlib import Path

import pytest
from ray import serve

from polyglossa.errors import PolyglossaError, UserError
from polyglossa.runtime.ports import free_port
from polyglossa.serving.lifecycle import running_application


def test_a_replica_that_cannot_load_its_model_is_told_in_one_line(
    ray_local: None, models: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(models["base"], folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "foo"}))
    members = [{"name": "base", "path": str(folder), "cpus": 0.1}]
    with (
        pytest.raises(PolyglossaError, match=r"^the endpoint did not start: member-base: .*foo") as error,
        running_application({"members": members}, port=free_port()),
    ):
        pass
    assert "\n" not in str(error.value)


def test_a_port_that_something_listens_on_is_named(ray_local: None, models: dict[str, str]) -> None:
    members = [{"name": "base", "path": models["base"], "cpus": 0.1}]
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with (
            pytest.raises(UserError, match=rf"^port {port} of 127\.0\.0\.1 is taken: .*--port"),
            running_application({"members": members}, port=port),
        ):
            pass
    assert not serve.status().proxies  # nothing of it is left
