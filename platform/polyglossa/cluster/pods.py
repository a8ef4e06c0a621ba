"""Pods and the Ray cluster of a spec, as plain Kubernetes data. Pure: what runs on them is `kuberay`'s.

Nobody runs as root, no capability is kept but locking memory for fabric devices, the root file system is written only
in `/tmp` and the data volume, and the probes need nothing that the image lacks (KubeRay's own call wget).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polyglossa.cluster.check.facts import IMAGE_VARIABLE
from polyglossa.cluster.head_state import fault_tolerance, history
from polyglossa.cluster.serve_config import SERVE_ENVIRONMENT
from polyglossa.cluster.spec import ClusterSpec, Group, Node
from polyglossa.cluster.spec.service import KEYS_FOLDER
from polyglossa.recipe.placement import GROUP_LABEL

Json = dict[str, Any]

APP_LABEL = "app.kubernetes.io/name"
GROUP_OF_POD = "polyglossa/group"
DRIVER = "driver"
"""Ray resource of the group that drivers run on where a head may be lost under them."""
USER_ID = 1000
EFA = "vpc.amazonaws.com/efa"
"""Kubernetes resource of AWS's Elastic Fabric Adapter, over which NCCL sends with GPUDirect RDMA."""
_AGENT_PORT = 52365
_PROBE = "import sys, urllib.request as web; [web.urlopen(url, timeout=4).read() for url in sys.argv[1:]]"
_RAYLET = f"http://localhost:{_AGENT_PORT}/api/local_raylet_healthz"
_CONTROL_STORE = "http://localhost:8265/api/gcs_healthz"
_PROXY = "http://localhost:8000/-/healthz"


def cluster_spec(
    spec: ClusterSpec, version: str, groups: Sequence[str], *, standing: bool = False, serving: bool = False
) -> Json:
    """Describe a RayCluster with some of the spec's groups.

    Args:
        spec: the cluster.
        version: tag of the image.
        groups: names of the groups that it has.
        standing: whether groups keep their fewest nodes; a job's cluster starts with none and asks for what it needs.
        serving: whether it is the endpoint's: nodes are ready only when they answer requests, and hold the API keys.
    """
    scales = serving or spec.jobs.autoscale
    asked = _Asked(spec, version, standing, serving, scales)
    if not scales:
        groups = [name for name in groups if spec.groups[name].fixed]
    return {
        "rayVersion": spec.ray,
        "enableInTreeAutoscaling": scales,
        **({"autoscalerOptions": _autoscaler(spec)} if scales else {}),
        "authOptions": _authentication(spec),
        **fault_tolerance(spec, tolerant=serving or spec.fault_tolerance.jobs),
        **history(spec),
        "headGroupSpec": {
            "serviceType": "ClusterIP",
            "labels": {GROUP_LABEL: "head"},
            "rayStartParams": {"num-cpus": "0", "num-gpus": "0", "dashboard-host": "0.0.0.0"},
            "template": _pod(asked, "head", spec.head, [_RAYLET, _CONTROL_STORE]),
        },
        "workerGroupSpecs": [_worker_group(asked, name) for name in groups],
    }


@dataclass(frozen=True)
class _Asked:
    """What every pod of one cluster shares."""

    spec: ClusterSpec
    version: str
    standing: bool
    serving: bool
    scales: bool

    @property
    def priority(self) -> str | None:
        return self.spec.service.priority if self.serving else self.spec.jobs.priority

    @property
    def has_keys(self) -> bool:
        return self.serving and self.spec.service.keys is not None


def volumes(spec: ClusterSpec) -> list[Json]:
    """List the volumes that every pod of the cluster mounts."""
    temporary: Json = {"name": "tmp", "emptyDir": {}}
    if spec.storage.uri:
        return [temporary]
    return [temporary, {"name": "data", "persistentVolumeClaim": {"claimName": spec.storage.claim}}]


def _worker_group(asked: _Asked, name: str) -> Json:
    spec, group = asked.spec, asked.spec.groups[name]
    fewest = (group.min if asked.standing else 0) if asked.scales else group.fixed
    probes = [_RAYLET, _PROXY] if asked.serving else [_RAYLET]
    parameters = {"num-cpus": str(group.cpus), "num-gpus": str(group.gpus)}
    if spec.fault_tolerance.driver_group == name:
        parameters["resources"] = json.dumps(json.dumps({DRIVER: 1000}))  # KubeRay hands it to a shell
    return {
        "groupName": name,
        "replicas": fewest,
        "minReplicas": fewest,
        "maxReplicas": group.max if asked.scales else fewest,
        **({"idleTimeoutSeconds": group.idle_seconds or spec.idle_seconds} if asked.scales else {}),
        **({"priority": group.priority} if group.priority and asked.scales else {}),
        "labels": spec.labels_of(name),
        "rayStartParams": parameters,
        "template": _pod(asked, name, group, probes),
    }


def _authentication(spec: ClusterSpec) -> Json:
    if spec.operators.kuberay == "1.5":  # it makes a token for each cluster, in a secret of the cluster's name
        return {"mode": "token"}
    return {"mode": "token", "secretName": spec.authentication.secret}


def _autoscaler(spec: ClusterSpec) -> Json:
    return {
        "version": "v2",
        "upscalingMode": "Default",
        "idleTimeoutSeconds": spec.idle_seconds,
        "resources": _resources(cpus=1, memory_gib=1),
        "securityContext": _container_security(),
    }


def _pod(asked: _Asked, name: str, node: Node, ready: list[str]) -> Json:
    spec = asked.spec
    pod: Json = {
        "restartPolicy": "Never",  # a node that comes back would wear the identity of the one that the autoscaler lost
        "serviceAccountName": spec.name,
        "automountServiceAccountToken": name == "head",  # the autoscaler beside the head asks for pods; no worker does
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": 120,
        "containers": [_container(asked, name, node, ready)],
        "volumes": [*volumes(spec), {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": _shm(node)}}],
    }
    if asked.has_keys and spec.service.keys:
        pod["volumes"].append({"name": "keys", "secret": {"secretName": spec.service.keys.secret}})
    if asked.priority:
        pod["priorityClassName"] = asked.priority
    if spec.image.pull_secret:
        pod["imagePullSecrets"] = [{"name": spec.image.pull_secret}]
    metadata: Json = {"labels": {APP_LABEL: spec.name, GROUP_OF_POD: name}}
    if isinstance(node, Group) and node.topology and spec.jobs.by_kueue and not asked.serving:
        metadata["annotations"] = {"kueue.x-k8s.io/podset-required-topology": node.topology}
    elif isinstance(node, Group) and node.topology:
        pod["affinity"] = _together(name, node.topology)
    return {"metadata": metadata, "spec": pod | placement(node)}


def _container(asked: _Asked, name: str, node: Node, ready: list[str]) -> Json:
    spec = asked.spec
    mounts: list[Json] = [{"name": "tmp", "mountPath": "/tmp"}, {"name": "shm", "mountPath": "/dev/shm"}]
    if not spec.storage.uri:
        mounts.append({"name": "data", "mountPath": spec.storage.mount})
    if asked.has_keys:
        mounts.append({"name": "keys", "mountPath": KEYS_FOLDER, "readOnly": True})
    group = node if isinstance(node, Group) else None
    devices = {key: str(count) for key, count in group.devices.items()} if group else {}
    container: Json = {
        "name": f"ray-{'head' if name == 'head' else 'worker'}",
        "image": spec.image_of(node, asked.version),
        "resources": _resources(node.cpus, node.memory_gib, node.gpus, node.disk_gib, devices | _huge_pages(devices)),
        "securityContext": _container_security(locks_memory=bool(devices)),
        "volumeMounts": mounts,
        "readinessProbe": _probe(ready, period=5, failures=12),
        "livenessProbe": _probe(ready[:1], period=10, failures=12),
    }
    if name == "head":
        ports = {"gcs-server": 6379, "dashboard": 8265, "client": 10001, "metrics": 8080, "serve": 8000}
        container["ports"] = [{"name": port, "containerPort": number} for port, number in ports.items()]
    else:
        container["ports"] = [{"name": "metrics", "containerPort": 8080}, {"name": "serve", "containerPort": 8000}]
        container["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", "10"]}}}
    if spec.storage.secret:
        container["envFrom"] = [{"secretRef": {"name": spec.storage.secret}}]
    variables = {IMAGE_VARIABLE: container["image"]} | (_gpu_environment(node) if node.gpus else {})
    variables |= (SERVE_ENVIRONMENT if asked.serving else {}) | (group.environment if group else {})
    container["env"] = [{"name": key, "value": value} for key, value in variables.items()]
    return container


def _together(name: str, topology: str) -> Json:
    """Ask for one zone or block for a group's pods of one cluster; the first of them chooses."""
    return {
        "podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {
                    "labelSelector": {"matchLabels": {GROUP_OF_POD: name}},
                    "matchLabelKeys": ["ray.io/cluster"],
                    "topologyKey": topology,
                }
            ]
        }
    }


def placement(node: Node) -> Json:
    """Say on which machines a pod may run: GPU nodes and spot nodes keep others away with taints."""
    tolerations: list[Json] = []
    selector: dict[str, str] = {}
    if node.gpus:
        tolerations.append({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"})
    if isinstance(node, Group):
        selector |= node.node_labels
    if isinstance(node, Group) and node.accelerator:
        selector["nvidia.com/gpu.product"] = node.accelerator
    if isinstance(node, Group) and node.spot:
        tolerations += [
            {"key": key, "operator": "Exists", "effect": "NoSchedule"}
            for key in ("cloud.google.com/gke-spot", "kubernetes.azure.com/scalesetpriority", "spot")
        ]
    placed: Json = {"tolerations": tolerations} if tolerations else {}
    return placed | ({"nodeSelector": selector} if selector else {})


def _gpu_environment(node: Node) -> dict[str, str]:
    """What CUDA and NCCL are told before they start."""
    told = {"PYTORCH_ALLOC_CONF": "expandable_segments:True", "NCCL_DEBUG": "WARN", "NCCL_SOCKET_IFNAME": "^lo,docker"}
    if isinstance(node, Group) and EFA in node.devices:
        told |= {"FI_PROVIDER": "efa", "FI_EFA_USE_DEVICE_RDMA": "1", "FI_EFA_FORK_SAFE": "1"}
    return told


def _huge_pages(devices: Mapping[str, str]) -> dict[str, str]:
    """What a pod asks for beside the fabric's devices: EFA's provider registers its buffers in huge pages."""
    return {"hugepages-2Mi": "5120Mi"} if EFA in devices else {}


def _resources(
    cpus: int, memory_gib: int, gpus: int = 0, disk_gib: int | None = None, further: Mapping[str, str] | None = None
) -> Json:
    """Ask for what a container may use: Ray plans with its limits, so a request below them would promise too much."""
    wanted = {"cpu": str(cpus), "memory": f"{memory_gib}Gi"}
    if disk_gib:
        wanted["ephemeral-storage"] = f"{disk_gib}Gi"
    if gpus:
        wanted["nvidia.com/gpu"] = str(gpus)
    wanted |= further or {}
    return {"requests": dict(wanted), "limits": dict(wanted)}


def _shm(node: Node) -> str:
    """Ray's object store takes 30 % of a node's memory; NCCL's ranks exchange through what is beside it."""
    return f"{max(1, node.memory_gib * 3 // 10) + (2 + node.gpus if node.gpus else 0)}Gi"


def _container_security(*, locks_memory: bool = False) -> Json:
    capabilities: Json = {"drop": ["ALL"]} | ({"add": ["IPC_LOCK"]} if locks_memory else {})
    return {"allowPrivilegeEscalation": False, "capabilities": capabilities}


def _probe(urls: list[str], *, period: int, failures: int) -> Json:
    return {
        "exec": {"command": ["python", "-c", _PROBE, *urls]},
        "initialDelaySeconds": 10,
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
