"""Runs as a driver on a twin: asks for groups one after another and prints the log of node counts as JSON.

python watch_nodes.py GROUP:TASKS [GROUP:TASKS …]
"""

import json
import sys
import time
from collections import Counter

import ray

LIMIT_SECONDS = 90


@ray.remote(num_cpus=1)
def work() -> str:
    time.sleep(2)
    return ray.get_runtime_context().get_node_labels().get("group", "none")


def counts() -> dict[str, int]:
    return dict(Counter(node["Labels"].get("group", "head") for node in ray.nodes() if node["Alive"]))


def main() -> None:
    ray.init(address="auto", log_to_driver=False)
    log, ran, started = [counts()], [], time.monotonic()

    def look() -> bool:
        if counts() != log[-1]:
            log.append(counts())
        return time.monotonic() - started < LIMIT_SECONDS

    for wanted in sys.argv[1:]:
        group, tasks = wanted.split(":")
        pending = [work.options(label_selector={"group": group}).remote() for _ in range(int(tasks))]
        results = list(pending)
        while pending and look():
            pending = ray.wait(pending, num_returns=len(pending), timeout=0.2)[1]
        ran.append(ray.get(results))
    while counts() != log[0] and look():
        time.sleep(0.2)
    look()
    print(json.dumps({"log": log, "ran": ran}))


if __name__ == "__main__":
    main()
