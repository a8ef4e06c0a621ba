"""Kubernetes manifests of what clusters need around them.

Namespace, account, volume, priority classes, disruption budgets, network policies, and images kept on machines.
"""

from typing import Any

from polyglossa.cluster.pods import APP_LABEL, GROUP_OF_POD, USER_ID, Json, placement
from polyglossa.cluster.spec import ClusterSpec, Group

PAUSE_IMAGE = "registry.k8s.io/pause:3.10"


def support(spec: ClusterSpec, version: str) -> list[Json]:
    """Describe what clusters need around them."""
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": spec.namespace}},
        _account(spec),
        *_autoscaler_rights(spec),
        *([] if spec.storage.uri else [_claim(spec)]),
        *_priority_classes(spec),
        _disruption_budget(spec, "serve", spec.service.group, 1),
        _disruption_budget(spec, "head", "head", 0 if spec.fault_tolerance.backend == "none" else 1),
        _inside_policy(spec),
        *_outside_policies(spec),
        *([_image_on_machines(spec, version, name) for name in spec.groups] if spec.image.prepull else []),
    ]


def _account(spec: ClusterSpec) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": spec.name, "namespace": spec.namespace},
        "automountServiceAccountToken": False,
    }


def _autoscaler_rights(spec: ClusterSpec) -> list[Json]:
    """Let the autoscaler beside the head see pods and change the number of replicas, nothing more."""
    metadata = {"name": f"{spec.name}-autoscaler", "namespace": spec.namespace}
    rules = [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "patch"]},
        {"apiGroups": ["ray.io"], "resources": ["rayclusters"], "verbs": ["get", "patch"]},
    ]
    subject = {"kind": "ServiceAccount", "name": spec.name, "namespace": spec.namespace}
    api = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{api}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": api, "kind": "Role", "name": metadata["name"]},
            "subjects": [subject],
        },
    ]


def _claim(spec: ClusterSpec) -> Json:
    storage = spec.storage
    body: Json = {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": f"{storage.claim_gib}Gi"}},
    }
    if storage.storage_class:
        body["storageClassName"] = storage.storage_class
    metadata = {"name": storage.claim, "namespace": spec.namespace}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": body}


def _disruption_budget(spec: ClusterSpec, name: str, group: str, unavailable: int) -> Json:
    """Keep drains from taking two serving nodes at once, or a head whose state is in its memory alone."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": f"{spec.name}-{name}", "namespace": spec.namespace},
        "spec": {
            "maxUnavailable": unavailable,
            "selector": {"matchLabels": {APP_LABEL: spec.name, GROUP_OF_POD: group}},
        },
    }


def _priority_classes(spec: ClusterSpec) -> list[Json]:
    """Describe the classes for the scheduler of pods, and for Kueue where it lets jobs or the endpoint in."""
    classes: list[Json] = [
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
            "globalDefault": False,
        }
        for name, value in spec.priorities.items()
    ]
    if spec.jobs.by_kueue or spec.service.queue is not None:
        classes += [
            {
                "apiVersion": "kueue.x-k8s.io/v1beta1",
                "kind": "WorkloadPriorityClass",
                "metadata": {"name": name},
                "value": value,
            }
            for name, value in spec.priorities.items()
        ]
    return classes


def _image_on_machines(spec: ClusterSpec, version: str, name: str) -> Json:
    """Pull a group's image on every machine that the group may use, and hold it there."""
    group: Group = spec.groups[name]
    wanted = {"cpu": "10m", "memory": "32Mi"}
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    containers = {"pull": (spec.image_of(group, version), ["python", "-c", ""]), "hold": (PAUSE_IMAGE, None)}
    pull, hold = (
        {
            "name": own,
            "image": image,
            **({"command": command} if command else {}),
            "resources": {"requests": dict(wanted), "limits": {"cpu": "200m", "memory": "128Mi"}},
            "securityContext": dict(security),
        }
        for own, (image, command) in containers.items()
    )
    pod: Json = {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [pull],
        "containers": [hold],
    }
    if spec.image.pull_secret:
        pod["imagePullSecrets"] = [{"name": spec.image.pull_secret}]
    labels = {"app.kubernetes.io/component": f"{spec.name}-image-{name}"}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": f"{spec.name}-image-{name}", "namespace": spec.namespace},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": dict(labels)}, "spec": pod | placement(group)},
        },
    }


def _inside_policy(spec: ClusterSpec) -> Json:
    """Pods talk to each other, to DNS, to HTTPS services (buckets, the API server) and to Redis, no further."""
    ours = {"podSelector": {"matchLabels": {APP_LABEL: spec.name}}}
    dns = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    redis = spec.fault_tolerance.port
    services = [{"protocol": "TCP", "port": port} for port in (443, 6443, *([redis] if redis else []))]
    body = {
        "podSelector": ours["podSelector"],
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [ours]}],
        "egress": [{"to": [ours]}, {"ports": dns}, {"ports": services}],
    }
    return _policy(spec, spec.name, body)


def _outside_policies(spec: ClusterSpec) -> list[Json]:
    """Let in who the spec names, each on its own ports."""
    network = spec.network
    allowed: list[tuple[str, tuple[str, ...], tuple[int, ...]]] = [
        ("operator", (network.operator_namespace,), (8265, 8000, 6379)),
        ("clients", network.clients, (8000,)),
        ("monitoring", (network.monitoring,) if network.monitoring else (), (8080, 44217, 44227)),
    ]
    return [
        _policy(
            spec,
            f"{spec.name}-{who}",
            {
                "podSelector": {"matchLabels": {APP_LABEL: spec.name}},
                "policyTypes": ["Ingress"],
                "ingress": [
                    {
                        "from": [_namespace(name) for name in namespaces],
                        "ports": [{"protocol": "TCP", "port": port} for port in ports],
                    }
                ],
            },
        )
        for who, namespaces, ports in allowed
        if namespaces
    ]


def _namespace(name: str) -> Json:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _policy(spec: ClusterSpec, name: str, body: dict[str, Any]) -> Json:
    metadata = {"name": name, "namespace": spec.namespace}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": body}
