"""Runs a node of another Ray version for the twin: `python check_nodes.py ADDRESS`; it stays until its input ends.

Its workers find a `sitecustomize` on their path that gives the installed Ray another version.
"""

import os
import sys
import tempfile
from pathlib import Path

import ray._private.node
import ray._private.parameter

OTHER_VERSION = "2.59.1"


def main(address: str) -> None:
    """Start one raylet of the group `cpu`."""
    with tempfile.TemporaryDirectory(prefix="pgodd-") as folder:
        Path(folder, "sitecustomize.py").write_text(f"import ray\nray.__version__ = '{OTHER_VERSION}'\n")
        parameters = ray._private.parameter.RayParams(
            gcs_address=address,
            redis_address=address,
            num_cpus=1,
            num_gpus=0,
            object_store_memory=100_000_000,
            labels={"group": "cpu"},
            min_worker_port=0,
            max_worker_port=0,
            dashboard_agent_listen_port=0,
            runtime_env_dir_name="runtime_resources_odd",
            env_vars={"PYTHONPATH": os.pathsep.join([folder, os.environ["PYTHONPATH"]])},
        )
        node = ray._private.node.Node(parameters, head=False, shutdown_at_exit=False, spawn_reaper=False)
        print("up", flush=True)
        sys.stdin.read()
        node.kill_all_processes(check_alive=False, allow_graceful=False)


if __name__ == "__main__":
    main(sys.argv[1])
