"""Specs for tests: the shipped one, and changes of it."""

from typing import Any

from cluster.schemas import ROOT
from polyglossa.cluster.spec import ClusterSpec, load_spec
from polyglossa.recipe.load import validate

CLUSTER = ROOT / "cluster"
SPEC = load_spec(CLUSTER / "spec.yaml")


def changed(**sections: Any) -> ClusterSpec:
    """The shipped spec with some sections changed, key by key; a list or a plain value takes the old one's place."""
    return validate(ClusterSpec, merge(SPEC.model_dump(mode="json"), sections), "spec")


def merge(old: Any, new: Any) -> Any:
    """Lay mappings over each other."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return old | {key: merge(old.get(key), value) for key, value in new.items()}


FIXED = {"cpu": {"fixed": 4}, "train": {"fixed": 2, "idle_seconds": None}, "embed": {"fixed": 4}}
"""Sizes of a cluster that does not scale."""

DRIVERS = {
    "drivers": {"cpus": 2, "memory_gib": 8, "max": 1, "machines": {"aws": "m7i.large", "gcp": "n2-standard-2"}},
}
"""A group for drivers, not of spot nodes."""

ASKED = {
    "plain": {},
    "fixed": {"jobs": {"autoscale": False}, "groups": FIXED},
    "kueue-fixed": {
        "operators": {"kueue": "0.16"},
        "jobs": {"queue": "team", "autoscale": False},
        "groups": FIXED,
    },
    "kueue-elastic": {
        "operators": {"kueue": "0.16", "gates": ["ElasticJobsViaWorkloadSlices"]},
        "jobs": {"queue": "team"},
    },
    "kueue-elastic-by-default": {
        "operators": {"kueue": "0.18"},
        "jobs": {"queue": "team", "priority": "batch"},
        "service": {"queue": "front", "priority": "live"},
        "priorities": {"batch": 100, "live": 1000},
        "groups": {"train": {"topology": "topology.kubernetes.io/zone"}},
    },
    "volcano": {"jobs": {"queue": "team", "scheduler": "volcano", "autoscale": False}, "groups": FIXED},
    "yunikorn": {"jobs": {"queue": "root.team", "scheduler": "yunikorn", "autoscale": False}, "groups": FIXED},
    "kai": {"jobs": {"queue": "team", "scheduler": "kai", "autoscale": False}, "groups": FIXED},
    "redis": {
        "fault_tolerance": {
            "backend": "redis",
            "address": "redis://redis.databases:6379",
            "secret": "redis",
            "jobs": True,
            "driver_group": "drivers",
        },
        "groups": DRIVERS,
    },
    "rocksdb": {
        "operators": {"gates": ["GCSFaultToleranceEmbeddedStorage"]},
        "fault_tolerance": {"backend": "rocksdb", "storage_class": "fast"},
    },
    "incremental": {"service": {"upgrade": {"kind": "incremental", "gateway_class": "istio"}}},
    "deletion": {"jobs": {"keep_failed_seconds": 86400, "forget_seconds": 172800}},
    "cron": {
        "operators": {"gates": ["RayCronJob"]},
        "jobs": {"schedules": [{"job": "mine", "cron": "0 3 * * 0", "time_zone": "Europe/Berlin", "suspended": True}]},
    },
    "history": {
        "operators": {"gates": ["RayClusterHistoryServer"]},
        "history": {"image": "quay.io/kuberay/collector:v1.7.0", "backend": "S3", "bucket": "logs", "region": "eu-1"},
    },
    "ingress": {
        "service": {"tls": {"kind": "ingress", "host": "e.org", "secret": "tls", "class_name": "nginx"}},
    },
    "gateway": {
        "service": {"tls": {"kind": "gateway", "host": "e.org", "secret": "tls", "class_name": "istio"}},
    },
    "nodes": {
        "image": {"prepull": True, "pull_secret": "registry"},
        "priorities": {"batch": 100},
        "jobs": {"priority": "batch"},
        "groups": {
            "train": {
                "devices": {"vpc.amazonaws.com/efa": 32},
                "topology": "topology.kubernetes.io/zone",
                "accelerator": "NVIDIA-H100-80GB-HBM3",
                "priority": 1,
            },
            "cpu": {"node_labels": {"karpenter.sh/capacity-type": "spot"}},
        },
    },
}
"""What users ask for, by name: the changes of the shipped spec."""
