"""Pods and the Ray cluster of a spec, as plain Kubernetes data. Pure: what runs on them is `cluster_kuberay`'s.

Nobody runs as root, no capability is kept, the root file system is written only in `/tmp` and the data volume, and the
probes need nothing that the image lacks (KubeRay's own call wget).
"""

from collections.abc import Sequence
from typing import Any

from polyglossa.cluster.spec import GROUP_LABEL, ClusterSpec, Group, Node

Json = dict[str, Any]

APP_LABEL = "app.kubernetes.io/name"
USER_ID = 1000
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
        serving: whether nodes are ready only when they answer requests.
    """
    return {
        "rayVersion": spec.ray,
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {
            "version": "v2",
            "upscalingMode": "Default",
            "idleTimeoutSeconds": spec.idle_seconds,
            "resources": _resources(cpus=1, memory_gib=1),
            "securityContext": _container_security(),
        },
        "authOptions": {"mode": "token", "secretName": spec.authentication.secret},
        "headGroupSpec": {
            "serviceType": "ClusterIP",
            "labels": {GROUP_LABEL: "head"},
            "rayStartParams": {"num-cpus": "0", "num-gpus": "0", "dashboard-host": "0.0.0.0"},
            "template": _pod(spec, version, "head", spec.head, [_RAYLET, _CONTROL_STORE]),
        },
        "workerGroupSpecs": [_worker_group(spec, version, name, standing, serving) for name in groups],
    }


def volumes(spec: ClusterSpec) -> list[Json]:
    """List the volumes that every pod of the cluster mounts."""
    temporary: Json = {"name": "tmp", "emptyDir": {}}
    if spec.storage.uri:
        return [temporary]
    return [temporary, {"name": "data", "persistentVolumeClaim": {"claimName": spec.storage.claim}}]


def _worker_group(spec: ClusterSpec, version: str, name: str, standing: bool, serving: bool) -> Json:
    group = spec.groups[name]
    fewest = group.min if standing else 0
    probes = [_RAYLET, _PROXY] if serving else [_RAYLET]
    return {
        "groupName": name,
        "replicas": fewest,
        "minReplicas": fewest,
        "maxReplicas": group.max,
        "idleTimeoutSeconds": group.idle_seconds or spec.idle_seconds,
        "labels": spec.labels_of(name),
        "rayStartParams": {"num-cpus": str(group.cpus), "num-gpus": str(group.gpus)},
        "template": _pod(spec, version, name, group, probes),
    }


def _pod(spec: ClusterSpec, version: str, name: str, node: Node, ready: list[str]) -> Json:
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
        "containers": [_container(spec, version, name, node, ready)],
        "volumes": [*volumes(spec), {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": _shm(node)}}],
    }
    if spec.image.pull_secret:
        pod["imagePullSecrets"] = [{"name": spec.image.pull_secret}]
    return {"metadata": {"labels": {APP_LABEL: spec.name, "polyglossa/group": name}}, "spec": pod | _placement(node)}


def _container(spec: ClusterSpec, version: str, name: str, node: Node, ready: list[str]) -> Json:
    mounts = [{"name": "tmp", "mountPath": "/tmp"}, {"name": "shm", "mountPath": "/dev/shm"}]
    if not spec.storage.uri:
        mounts.append({"name": "data", "mountPath": spec.storage.mount})
    container: Json = {
        "name": f"ray-{'head' if name == 'head' else 'worker'}",
        "image": spec.image_of(node, version),
        "resources": _resources(node.cpus, node.memory_gib, node.gpus, node.disk_gib, _fabric_resources(node)),
        "securityContext": _container_security(),
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
    if node.gpus:
        container["env"] = [{"name": key, "value": value} for key, value in _gpu_environment(node).items()]
    if spec.storage.secret:
        container["envFrom"] = [{"secretRef": {"name": spec.storage.secret}}]
    return container


def _placement(node: Node) -> Json:
    """Say on which machines a pod may run: GPU nodes and spot nodes keep others away with taints."""
    tolerations: list[Json] = []
    selector: dict[str, str] = {}
    if node.gpus:
        tolerations.append({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"})
    if isinstance(node, Group) and node.accelerator:
        selector["nvidia.com/gpu.product"] = node.accelerator
    if isinstance(node, Group) and node.spot:
        tolerations += [
            {"key": key, "operator": "Exists", "effect": "NoSchedule"}
            for key in ("cloud.google.com/gke-spot", "kubernetes.azure.com/scalesetpriority", "spot")
        ]
    placement: Json = {"tolerations": tolerations} if tolerations else {}
    return placement | ({"nodeSelector": selector} if selector else {})


def _gpu_environment(node: Node) -> dict[str, str]:
    """What CUDA and NCCL are told before they start."""
    told = {"PYTORCH_ALLOC_CONF": "expandable_segments:True", "NCCL_DEBUG": "WARN", "NCCL_SOCKET_IFNAME": "^lo,docker"}
    if not isinstance(node, Group):
        return told
    if node.fabric == "efa":
        told |= {"FI_PROVIDER": "efa", "FI_EFA_USE_DEVICE_RDMA": "1", "FI_EFA_FORK_SAFE": "1"}
    return told | node.environment


def _fabric_resources(node: Node) -> dict[str, str]:
    """What a pod asks for so that NCCL reaches the fabric; its provider registers its buffers in huge pages."""
    if not isinstance(node, Group) or node.fabric != "efa":
        return {}
    return {"vpc.amazonaws.com/efa": str(node.fabric_interfaces), "hugepages-2Mi": "5120Mi"}


def _resources(
    cpus: int, memory_gib: int, gpus: int = 0, disk_gib: int | None = None, further: dict[str, str] | None = None
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


def _container_security() -> Json:
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _probe(urls: list[str], *, period: int, failures: int) -> Json:
    return {
        "exec": {"command": ["python", "-c", _PROBE, *urls]},
        "initialDelaySeconds": 10,
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
