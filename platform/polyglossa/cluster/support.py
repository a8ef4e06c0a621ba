"""Kubernetes manifests of what clusters need around them: namespace, account, volume, disruption budget, policies."""

from typing import Any

from polyglossa.cluster.pods import APP_LABEL, Json
from polyglossa.cluster.spec import ClusterSpec


def support(spec: ClusterSpec) -> list[Json]:
    """Describe what clusters need around them."""
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": spec.namespace}},
        _account(spec),
        *_autoscaler_rights(spec),
        *([] if spec.storage.uri else [_claim(spec)]),
        _disruption_budget(spec),
        _inside_policy(spec),
        *_outside_policies(spec),
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


def _disruption_budget(spec: ClusterSpec) -> Json:
    """Keep drains from taking two serving nodes at once; a head is never drained while it runs."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": f"{spec.name}-serve", "namespace": spec.namespace},
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": {APP_LABEL: spec.name, "polyglossa/group": spec.service.group}},
        },
    }


def _inside_policy(spec: ClusterSpec) -> Json:
    """Pods of the cluster talk to each other, to DNS and to HTTPS services (buckets, the API server), no further."""
    ours = {"podSelector": {"matchLabels": {APP_LABEL: spec.name}}}
    dns = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    https = [{"protocol": "TCP", "port": port} for port in (443, 6443)]
    body = {
        "podSelector": ours["podSelector"],
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [ours]}],
        "egress": [{"to": [ours]}, {"ports": dns}, {"ports": https}],
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
