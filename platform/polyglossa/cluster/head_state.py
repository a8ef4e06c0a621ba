"""What a RayCluster says of state that outlives its head: the control store's, and logs of what has ended."""

from typing import Any

from polyglossa.cluster.spec import ClusterSpec

Json = dict[str, Any]


def fault_tolerance(spec: ClusterSpec, *, tolerant: bool) -> Json:
    """Say where the control store keeps its state; nothing where it is the head's memory."""
    state = spec.fault_tolerance
    if state.backend == "none" or not tolerant:
        return {}
    if state.backend == "rocksdb":
        storage: Json = {"size": f"{state.volume_gib}Gi"}
        if state.storage_class:
            storage["storageClassName"] = state.storage_class
        return {"gcsFaultToleranceOptions": {"backend": "rocksdb", "storage": storage}}
    options: Json = {"redisAddress": state.address}
    if state.secret:
        options["redisPassword"] = {"valueFrom": {"secretKeyRef": {"name": state.secret, "key": "password"}}}
    return {"gcsFaultToleranceOptions": options}


def history(spec: ClusterSpec) -> Json:
    """Put the history server's collector beside every pod."""
    kept = spec.history
    if kept is None:
        return {}
    variables = {"STORAGE_BACKEND": kept.backend, f"{kept.backend}_BUCKET": kept.bucket}
    if kept.region:
        variables["S3_REGION"] = kept.region
    return {
        "historyServerOptions": {
            "collectorOptions": {
                "image": kept.image,
                "env": [{"name": name, "value": value} for name, value in variables.items()],
                "resources": {
                    "requests": {"cpu": "50m", "memory": "64Mi"},
                    "limits": {"cpu": "200m", "memory": "256Mi"},
                },
            }
        }
    }
