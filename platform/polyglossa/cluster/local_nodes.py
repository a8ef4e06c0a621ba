"""Nodes of the local twin: Ray's fake provider, with a folder for uploaded code of each node's own.

Ray's provider lets all nodes share one such folder, as they share the machine's disk. A node that joins then unpacks a
job's code over the one that the job's driver runs in, which ends the driver (seen with Ray 2.60).
"""

import json
from collections.abc import Mapping
from typing import Any

import ray._private.node
import ray._private.parameter
from ray._private.ray_constants import LABELS_ENVIRONMENT_VARIABLE, RESOURCES_ENVIRONMENT_VARIABLE
from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_WORKER,
    STATUS_UP_TO_DATE,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_NAME,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

from polyglossa.runtime.ports import LOOPBACK


class LocalNodeProvider(FakeMultiNodeProvider):
    """Starts and ends raylets on this machine for Ray's autoscaler."""

    def _create_node_with_resources_and_labels(
        self,
        node_config: Mapping[str, Any],
        tags: Mapping[str, str],
        count: int,
        resources: Mapping[str, float],
        labels: Mapping[str, str],
    ) -> None:
        """Start one raylet with a group's resources and labels (the base class calls this `count` times)."""
        with self.lock:
            node_id = self._next_hex_node_id()
            node = _start(node_id, tags[TAG_RAY_USER_NODE_TYPE], self._gcs_address, dict(resources), dict(labels))
            own_tags = {
                TAG_RAY_NODE_KIND: NODE_KIND_WORKER,
                TAG_RAY_NODE_NAME: node_id,
                TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE,
            }
            self._nodes[node_id] = {"tags": own_tags | dict(tags), "node": node}


def _start(
    node_id: str, node_type: str, control_store: str, resources: dict[str, float], labels: dict[str, str]
) -> "ray._private.node.Node":
    cpus, gpus = resources.pop("CPU", 0), resources.pop("GPU", 0)
    parameters = ray._private.parameter.RayParams(
        gcs_address=control_store,
        redis_address=control_store,
        node_ip_address=LOOPBACK,
        num_cpus=cpus,
        num_gpus=gpus,
        object_store_memory=resources.pop("object_store_memory", None),
        resources=resources,
        labels=labels,
        min_worker_port=0,
        max_worker_port=0,
        dashboard_agent_listen_port=0,
        runtime_env_dir_name=f"runtime_resources_{node_id[-5:]}",
        env_vars={
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": node_id,
            "RAY_CLOUD_INSTANCE_ID": node_id,
            "RAY_NODE_TYPE_NAME": node_type,
            RESOURCES_ENVIRONMENT_VARIABLE: json.dumps(resources),
            LABELS_ENVIRONMENT_VARIABLE: json.dumps(labels),
        },
    )
    return ray._private.node.Node(parameters, head=False, shutdown_at_exit=False, spawn_reaper=False)
