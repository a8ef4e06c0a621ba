"""A driver that lasts: `long_job.py FILE SECONDS` runs a task a second and writes each result down."""

import os
import sys
import time
from pathlib import Path

import ray

from cluster.twin.small_cluster import NODE_FOLDER


@ray.remote(num_cpus=0.5)
def square(number: int) -> int:
    return number * number


def main(path: str, seconds: int) -> None:
    ray.init(logging_level="error", log_to_driver=False, _temp_dir=os.environ[NODE_FOLDER])
    for number in range(seconds):
        with Path(path).open("a") as file:
            file.write(f"{ray.get(square.remote(number))}\n")
        time.sleep(1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
