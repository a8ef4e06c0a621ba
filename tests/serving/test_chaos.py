"""Under load, with two replicas of everything: killing, replacing and draining cost no request; memory stays flat."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import psutil
import pytest

from polyglossa.runtime.ports import free_port
from polyglossa.serving.lifecycle import redeploy, running_application

pytestmark = pytest.mark.slow
SOAK_SECONDS = float(os.environ.get("POLYGLOSSA_SOAK_SECONDS", "120"))


class Traffic:
    """Clients in threads that ask without pause and remember what failed."""

    def __init__(self, url: str, clients: int = 8) -> None:
        self._url, self._stop = url, threading.Event()
        self.answered = 0
        self.failed: list[str] = []
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        count = 0
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._stop.is_set():
                count += 1
                body = {"model": "base", "input": [f"text {number} {count}", "Saksa"]}
                try:
                    answer = client.post("/v1/embeddings", json=body)
                    failure = None if answer.status_code == 200 else f"{answer.status_code} {answer.text[:200]}"
                except httpx.HTTPError as error:
                    failure = type(error).__name__
                if failure is None:
                    self.answered += 1
                else:
                    self.failed.append(failure)


@pytest.fixture(scope="module")
def doubled(ray_local: None, models: dict[str, str]) -> Iterator[tuple[str, dict[str, object]]]:
    args: dict[str, object] = {
        "members": [{"name": "base", "path": models["base"], "cpus": 0.2, "replicas": {"min": 2, "max": 2}}],
        "ingress": {"min": 2, "max": 2},
    }
    with running_application(args, port=free_port()) as url:
        yield url, args


def test_killed_member_replica_costs_no_request(doubled: tuple[str, dict[str, object]]) -> None:
    with Traffic(doubled[0]) as traffic:
        time.sleep(2)
        kill_one("member-base")
        time.sleep(6)
        wait_for(lambda: len(replicas("member-base")) == 2)
    assert traffic.failed == []
    assert traffic.answered > 50


def test_killed_ingress_replica_costs_at_most_its_own_requests(doubled: tuple[str, dict[str, object]]) -> None:
    with Traffic(doubled[0]) as traffic:
        time.sleep(2)
        kill_one("ingress")
        time.sleep(6)
        wait_for(lambda: len(replicas("ingress")) == 2)
    assert len(traffic.failed) <= 8  # one for each client
    assert traffic.answered > 50


def test_new_version_replaces_the_old_one_without_a_failed_request(doubled: tuple[str, dict[str, object]]) -> None:
    url, args = doubled
    before = {process.pid for process in replicas("member-base")}
    with Traffic(url) as traffic:
        time.sleep(2)
        members = [dict(member) | {"batch_tokens": 4096} for member in args["members"]]  # type: ignore[attr-defined]  # a list
        redeploy(args | {"members": members})
        wait_for(lambda: not before & {process.pid for process in replicas("member-base")})
        time.sleep(3)
    assert traffic.failed == []
    assert traffic.answered > 50


def test_memory_stays_flat_under_a_long_load(doubled: tuple[str, dict[str, object]]) -> None:
    with Traffic(doubled[0]) as traffic:
        time.sleep(SOAK_SECONDS * 0.4)
        before = memory()
        time.sleep(SOAK_SECONDS * 0.6)
        after = memory()
    assert traffic.failed == []
    assert after - before < 48 * 1024 * 1024, (before, after)


def replicas(deployment: str) -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if f"ServeReplica:polyglossa:{deployment}" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def kill_one(deployment: str) -> None:
    replicas(deployment)[0].send_signal(signal.SIGKILL)


def memory() -> int:
    return sum(process.memory_info().rss for name in ("ingress", "member-base") for process in replicas(name))


def wait_for(true: Callable[[], bool], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.2)
