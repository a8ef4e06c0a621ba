"""Serve a small model on two nodes of the local cluster and lose one of them under load: run it with a FOLDER.

Prints what the clients saw as JSON: requests that were answered and that failed, nodes with a replica before and after.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import httpx
import psutil
import ray
from ray.util.state import list_actors

from polyglossa.model.directory import build_model, save_model_directory
from polyglossa.model.forward import TextModel
from polyglossa.model.tokenizer import train_tokenizer
from polyglossa.runtime.ports import free_port
from polyglossa.serving.lifecycle import running_application

CLIENTS = 4
LIMIT_SECONDS = 120


def main(folder: str) -> None:
    """Serve, kill a node, wait for its replacement."""
    ray.init(logging_level="error", log_to_driver=False)
    member = {"name": "base", "path": make_model(folder), "cpus": 1, "labels": {"group": "serve"}}
    replicas = {"min": 2, "max": 2}
    answered, failed = [], []
    stop = threading.Event()

    def ask(url: str, number: int) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not stop.is_set():
                body = {"model": "base", "input": [f"text {number} {len(answered)}", "Saksa"]}
                try:
                    answer = client.post("/v1/embeddings", json=body)
                    (answered if answer.status_code == 200 else failed).append(answer.text[:200])
                except httpx.HTTPError as error:
                    failed.append(repr(error))

    with running_application(
        {"members": [{**member, "replicas": replicas}], "ingress": replicas}, port=free_port()
    ) as url:
        wait_for(lambda: len(nodes()) == 2)
        before = nodes()
        clients = [threading.Thread(target=ask, args=(url, number)) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        time.sleep(3)
        lost = next(iter(before.items()))
        psutil.Process(lost[1]).parent().send_signal(signal.SIGKILL)
        wait_for(lambda: len(nodes()) == 2 and lost[0] not in nodes())
        time.sleep(2)
        stop.set()
        for client in clients:
            client.join()
        after = nodes()
    ray.shutdown()  # or what Ray has to say of the end may come after the last line
    print(json.dumps({"answered": len(answered), "failed": failed, "before": [*before], "after": [*after]}))


def make_model(folder: str) -> str:
    """Write a model directory of two layers."""
    tokenizer = train_tokenizer(["Germany", "Deutschland", "Saksa"] * 4, vocabulary=400, max_tokens=64)
    backbone = build_model(
        hidden=32, mlp=64, layers=2, heads=4, kv_heads=2, head_dim=8, vocabulary=400, max_tokens=64,
        eos=tokenizer.eos_token_id, padding=tokenizer.pad_token_id, seed=1,
    )  # fmt: skip
    save_model_directory(folder, TextModel.of(backbone), tokenizer, max_tokens=64, matryoshka_widths=(32,))
    return folder


def nodes() -> dict[str, int]:
    """Nodes on which a replica of the member runs → its process."""
    actors = list_actors(filters=[("state", "=", "ALIVE"), ("class_name", "=", "ServeReplica:polyglossa:member-base")])
    return {actor.node_id: actor.pid for actor in actors}


def wait_for(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {LIMIT_SECONDS} s; replicas are on {nodes()}, process {os.getpid()}")
        time.sleep(0.5)


if __name__ == "__main__":
    main(sys.argv[1])
