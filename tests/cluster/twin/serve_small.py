"""Deploy a small member on every node of the group `serve` and leave it running: `serve_small.py FOLDER PORT`."""

import sys

import ray
from ray import serve

from cluster.twin.serve_on_local_cluster import make_model
from polyglossa.serving.application import build


def main(folder: str, port: int) -> None:
    """Deploy and go."""
    ray.init(logging_level="error", log_to_driver=False)
    serve.start(proxy_location="EveryNode", http_options={"host": "127.0.0.1", "port": port})
    member = {"name": "base", "path": make_model(folder), "cpus": 1, "labels": {"group": "serve"}}
    replicas = {"min": 2, "max": 2}
    serve.run(
        build({"members": [{**member, "replicas": replicas}], "ingress": {"min": 3, "max": 3}}), name="polyglossa"
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
