"""Protects the terminal of `jobs/serve.py`: where the endpoint is, nothing else; and no process stays behind."""

import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import httpx
import psutil

from polyglossa.runtime.ports import free_port

ROOT = Path(__file__).parents[2]


def test_the_endpoint_is_announced_in_calm_lines_and_ctrl_c_leaves_nothing(
    models: dict[str, str], tmp_path: Path
) -> None:
    command = [sys.executable, str(ROOT / "jobs/serve.py"), "--model", f"tiny={models['base']}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "platform"), "RAY_ADDRESS": ""}
    job = subprocess.Popen(
        [*command, "--port", str(free_port())], cwd=tmp_path, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in the background
    )  # fmt: skip
    assert job.stdout is not None
    starting, ready = job.stdout.readline(), job.stdout.readline()
    assert re.fullmatch(r"Starting tiny; details in runs/logs/serve-\d+-\d+\.log\n", starting)
    assert ready.endswith("/v1 answers for tiny. Ctrl-C stops it.\n"), ready
    answer = httpx.post(f"{ready.split()[0]}/embeddings", json={"model": "tiny", "input": "Germany"}, timeout=60)
    assert answer.status_code == 200
    below = psutil.Process(job.pid).children(recursive=True)
    job.send_signal(signal.SIGINT)
    said, _ = job.communicate(timeout=60)
    assert said == "Stopped.\n"
    assert job.returncode == 0
    _, left = psutil.wait_procs(below, timeout=20)
    assert [process.cmdline() for process in left if process.status() != psutil.STATUS_ZOMBIE] == []
