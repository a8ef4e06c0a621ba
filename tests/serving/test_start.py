"""An endpoint whose model cannot be loaded says so in one line, though the loading happens in a replica."""

import json
import shutil
from pathlib import Path

import pytest

from polyglossa.errors import PolyglossaError
from polyglossa.runtime.ports import free_ports
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
        running_application({"members": members}, port=free_ports(1)[0]),
    ):
        pass
    assert "\n" not in str(error.value)
