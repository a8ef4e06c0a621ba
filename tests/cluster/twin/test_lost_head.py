"""The head is killed.

With Redis behind the control store the endpoint answers through it, and a job whose driver runs on a node goes on.
Without it the same command goes on from the last piece.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest

from cluster.schemas import ROOT
from cluster.twin.jobs import PROFILE, SMALL_RECIPE, environment, submit, until
from cluster.twin.small_cluster import RAY, running_redis, small_cluster
from polyglossa.cluster.local_cluster import LocalCluster, running_local_cluster
from polyglossa.cluster.spec import load_spec
from polyglossa.runtime.ports import free_port

LIMIT_SECONDS = 400
AWAY_SECONDS = 8
JOB_SECONDS = 40


class Clients:
    """Threads that ask all the time, as clients behind a load balancer do: one retry where a connection breaks."""

    def __init__(self, url: str, count: int = 3) -> None:
        self.answered: list[float] = []
        self.failed: list[str] = []
        self._url, self._stop = url, threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,), daemon=True) for number in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop asking."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        while not self._stop.is_set():
            for attempt in range(2):
                try:
                    body = {"model": "base", "input": [f"text {number} {len(self.answered)}"]}
                    answer = httpx.post(f"{self._url}/v1/embeddings", json=body, timeout=60, trust_env=False)
                except httpx.TransportError as error:
                    if attempt:
                        self.failed.append(repr(error))
                    continue
                if answer.status_code == 200:
                    self.answered.append(time.monotonic())
                else:
                    self.failed.append(answer.text[:200])
                break
            time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs Debian's redis-server")
def test_with_redis_the_endpoint_answers_through_a_lost_head_and_a_job_goes_on(tmp_path: Path) -> None:
    port = free_port()
    lines = tmp_path / "lines"
    with running_redis() as redis, small_cluster(redis) as cluster:
        for number in range(2):
            cluster.start_node(f"node-{number}", "serve", 2)
        script = str(Path(__file__).with_name("serve_small.py"))
        deploy = [sys.executable, script, str(tmp_path / "model"), str(port)]
        subprocess.run(deploy, env=cluster.environment, timeout=LIMIT_SECONDS, check=True)
        job = str(Path(__file__).with_name("long_job.py"))
        submitted = [
            RAY, "job", "submit", "--no-wait", "--submission-id", "long", "--entrypoint-num-cpus", "0.5", "--",
            sys.executable, job, str(lines), str(JOB_SECONDS),
        ]  # fmt: skip
        subprocess.run(submitted, env=cluster.environment, timeout=LIMIT_SECONDS, check=True, capture_output=True)
        until(lambda: lines.exists() and len(lines.read_text().split()) > 3)
        clients = Clients(f"http://127.0.0.1:{port}")
        time.sleep(3)
        killed = time.monotonic()
        cluster.kill("head")
        time.sleep(AWAY_SECONDS)
        back = time.monotonic()
        cluster.start_head()
        up = time.monotonic()
        until(lambda: len(lines.read_text().split()) == JOB_SECONDS)
        time.sleep(3)
        clients.stop()
        until(lambda: "succeeded" in (said := _status(cluster.environment)) or "failed" in said)
        status = _status(cluster.environment)
    without = [moment for moment in clients.answered if killed + 1 < moment < back]
    after = [moment for moment in clients.answered if moment > up]
    print(
        f"answered {len(clients.answered)}, without a head {len(without)} in {back - killed:.0f} s, "
        f"after {len(after)}, failed {clients.failed}; head back in {up - back:.1f} s"
    )
    assert clients.failed == []
    assert without
    assert after
    assert lines.read_text().split() == [str(number**2) for number in range(JOB_SECONDS)], "no task twice, none lost"
    assert "succeeded" in status


def _status(own: dict[str, str]) -> str:
    ask = [RAY, "job", "status", "long"]
    return subprocess.run(ask, env=own, capture_output=True, text=True, timeout=120, check=False).stdout.lower()


@pytest.mark.slow
def test_without_it_the_same_command_goes_on_from_the_last_piece(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(SMALL_RECIPE)
    command = ("python", "jobs/train.py", str(tmp_path / "tiny.yaml"), *PROFILE, "--set", f"storage={tmp_path}")
    spec = load_spec(ROOT / "cluster" / "spec.yaml")
    with running_local_cluster(spec, idle_seconds=15) as twin:
        assert submit(twin, *command, options=("--no-wait", "--submission-id", "lost")).returncode == 0
        until(lambda: bool(list(tmp_path.glob("tiny/checkpoints/*/step-*/COMMITTED"))))
        _kill_head(twin)
        gone = time.monotonic()
        asked = [RAY, "job", "status", "lost"]
        answer = subprocess.run(asked, env=environment(twin), capture_output=True, text=True, timeout=300, check=False)
        assert "succeeded" not in answer.stdout.lower(), "the job is gone with the head"
    made = {path.parent.name for path in tmp_path.glob("tiny/artifacts/*/*/COMMITTED")}
    with running_local_cluster(spec, idle_seconds=15) as twin:
        again = submit(twin, *command, seconds=LIMIT_SECONDS)
        assert again.returncode == 0, again.stdout[-2000:]
    (manifest,) = tmp_path.glob("tiny/artifacts/train/*/manifest.json")
    resumed = json.loads(manifest.read_text())["counts"]["resumed_at"]
    print(
        f"resumed at step {resumed} of 300, {time.monotonic() - gone:.0f} s after the head was lost; kept {len(made)}"
    )
    assert resumed >= 20
    assert made <= {path.parent.name for path in tmp_path.glob("tiny/artifacts/*/*/COMMITTED")}
    lines = manifest.with_name("metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(300))


def _kill_head(twin: LocalCluster) -> None:
    """Kill the control store and the head's raylet and dashboard, as a lost pod would end them."""
    for process in psutil.process_iter(["cmdline"]):
        try:
            ours = os.getsid(process.pid) == twin.session
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
        text = " ".join(process.info["cmdline"] or ())
        if ours and ("gcs_server" in text or "--head" in text or "dashboard.py" in text):
            process.send_signal(signal.SIGKILL)
