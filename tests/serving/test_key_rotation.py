"""Keys change as Kubernetes changes a mounted secret: a good key is never refused, a revoked one is at once."""

import hashlib
import json
import os
import threading
import time
from pathlib import Path

import httpx
import pytest

from cluster.twin.serve_on_local_cluster import make_model
from polyglossa.runtime.ports import free_port
from polyglossa.serving.errors import ApiError
from polyglossa.serving.http.auth import Keyring
from polyglossa.serving.lifecycle import running_application

REVOKED_SECONDS = 5.0
LIMIT_SECONDS = 120.0


class Secret:
    """A mounted Kubernetes secret: a folder whose `..data` link is moved to a new folder at each change."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._version = folder, 0
        folder.mkdir()

    @property
    def file(self) -> Path:
        """The key's file."""
        return self.folder / "keys.json"

    def hold(self, *keys: str) -> None:
        """Change the secret, as the kubelet does."""
        self._version += 1
        version = self.folder / f"..{self._version}"
        version.mkdir()
        entries = [{"name": key, "sha256": hashlib.sha256(key.encode()).hexdigest()} for key in keys]
        (version / "keys.json").write_text(json.dumps(entries))
        os.symlink(version.name, self.folder / "..data_tmp")
        os.replace(self.folder / "..data_tmp", self.folder / "..data")
        if not self.file.is_symlink():
            os.symlink("..data/keys.json", self.file)


def test_a_changed_secret_is_read_through_its_link(tmp_path: Path) -> None:
    now = [0.0]
    secret = Secret(tmp_path / "mount")
    secret.hold("old")
    ring = Keyring(str(secret.file), clock=lambda: now[0])
    assert ring.admit("Bearer old")
    secret.hold("old", "new")
    now[0] += 2
    assert ring.admit("Bearer new")
    assert ring.admit("Bearer old")
    secret.hold("new")
    now[0] += 2
    assert ring.admit("Bearer new")
    with pytest.raises(ApiError, match="not known"):
        ring.admit("Bearer old")


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_keys_rotate_under_load_without_a_failed_request(tmp_path: Path) -> None:
    secret = Secret(tmp_path / "mount")
    secret.hold("old")
    member = {"name": "base", "path": make_model(str(tmp_path / "model")), "cpus": 0.5}
    args = {"members": [member], "keys_file": str(secret.file), "ingress": {"min": 2, "max": 2}}
    key, stop, answered, failed = ["old"], threading.Event(), [0], []

    def ask(url: str) -> None:
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            while not stop.is_set():
                answer = _ask(client, key[0])
                if answer.status_code == 200:
                    answered[0] += 1
                else:
                    failed.append(answer.text)

    with running_application(args, port=free_port()) as url:
        threads = [threading.Thread(target=ask, args=(url,), daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(2)
        secret.hold("old", "new")
        time.sleep(2)  # both open; clients change over one by one
        key[0] = "new"
        time.sleep(1)
        secret.hold("new")
        try:
            seconds = _refused_after(url, "old")
        finally:
            stop.set()
        for thread in threads:
            thread.join()
    print(f"answered {answered[0]}; the revoked key was refused after {seconds:.2f} s")
    assert failed == []
    assert answered[0] > 50
    assert seconds < REVOKED_SECONDS


def _refused_after(url: str, key: str) -> float:
    """Ask until a key is refused ten times in a row, by whichever replica; when was the first of them?"""
    began = first = time.monotonic()
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        in_a_row = 0
        while in_a_row < 10:
            assert time.monotonic() - began < LIMIT_SECONDS
            in_a_row = in_a_row + 1 if _ask(client, key).status_code == 401 else 0
            first = time.monotonic() if in_a_row == 1 else first
    return first - began


def _ask(client: httpx.Client, key: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return client.post("/v1/embeddings", json={"model": "base", "input": "Saksa"}, headers=headers)
