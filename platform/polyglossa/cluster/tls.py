"""TLS termination before the endpoint: an Ingress, or a Gateway with its route. Nothing where it is the user's."""

from polyglossa.cluster.pods import APP_LABEL, Json
from polyglossa.cluster.spec import ClusterSpec

_PORT = 8000


def tls(spec: ClusterSpec) -> list[Json]:
    """Describe what terminates TLS and sends requests to the endpoint's service."""
    wanted = spec.service.tls
    if wanted is None:
        return []
    return [_ingress(spec)] if wanted.kind == "ingress" else [_gateway(spec), _route(spec)]


def _service(spec: ClusterSpec) -> str:
    return f"{spec.name}-serve-serve-svc"  # KubeRay names it after the RayService


def _metadata(spec: ClusterSpec) -> Json:
    return {"name": f"{spec.name}-serve", "namespace": spec.namespace, "labels": {APP_LABEL: spec.name}}


def _ingress(spec: ClusterSpec) -> Json:
    wanted = spec.service.tls
    assert wanted is not None
    backend = {"service": {"name": _service(spec), "port": {"number": _PORT}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": _metadata(spec),
        "spec": {
            "ingressClassName": wanted.class_name,
            "tls": [{"hosts": [wanted.host], "secretName": wanted.secret}],
            "rules": [
                {"host": wanted.host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
            ],
        },
    }


def _gateway(spec: ClusterSpec) -> Json:
    wanted = spec.service.tls
    assert wanted is not None
    listener = {
        "name": "https",
        "protocol": "HTTPS",
        "port": 443,
        "hostname": wanted.host,
        "tls": {"mode": "Terminate", "certificateRefs": [{"kind": "Secret", "name": wanted.secret}]},
    }
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": _metadata(spec),
        "spec": {"gatewayClassName": wanted.class_name, "listeners": [listener]},
    }


def _route(spec: ClusterSpec) -> Json:
    wanted = spec.service.tls
    assert wanted is not None
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": _metadata(spec),
        "spec": {
            "parentRefs": [{"name": f"{spec.name}-serve"}],
            "hostnames": [wanted.host],
            "rules": [{"backendRefs": [{"name": _service(spec), "port": _PORT}]}],
        },
    }
