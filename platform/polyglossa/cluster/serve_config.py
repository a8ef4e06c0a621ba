"""The endpoint's configuration for Ray Serve: one source of the RayService and of `serve/config/production.yaml`."""

from typing import Any

from polyglossa.cluster.spec import ClusterSpec, Service
from polyglossa.cluster.spec.service import ServedMember

Json = dict[str, Any]

SERVE_ENVIRONMENT = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",  # HAProxy on every node; ingress replicas speak HTTP themselves
    # An embedding is a pure function of the request: another replica may answer what a dead one took.
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
    # The ingress is one event loop: a thread for user code and another for the router cost a switch per request.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "TOKENIZERS_PARALLELISM": "false",
}


def serve_config(spec: ClusterSpec) -> Json:
    """Describe the application for `serve deploy`, and as `serveConfigV2`."""
    service = spec.service
    return {
        "proxy_location": "EveryNode",
        # A proxy that gave up before the application would answer for it.
        "http_options": {
            "host": "0.0.0.0",
            "port": 8000,
            "request_timeout_s": round(service.limits.request_seconds + 10),
        },
        "logging_config": {"log_level": "WARNING", "encoding": "JSON", "enable_access_log": False},
        "controller_options": {"runtime_env": {"env_vars": dict(SERVE_ENVIRONMENT)}},
        "applications": [
            {
                "name": spec.name,
                "route_prefix": "/",
                "import_path": "serve.app:build",
                "args": {
                    "members": [_member(service, member) for member in service.members],
                    **({"aliases": dict(service.aliases)} if service.aliases else {}),
                    **({"keys_file": service.keys.path} if service.keys else {}),
                    "limits": service.limits.model_dump(exclude_none=True),
                    "cache_mib": service.cache_mib,
                    "ingress": {"min": service.ingress.min, "max": service.ingress.max},
                },
            }
        ],
    }


def _member(service: Service, member: ServedMember) -> Json:
    return {
        "name": member.name,
        "path": member.path,
        "dtype": member.dtype or service.dtype,
        "cpus": service.cpus_per_replica if member.cpus is None else member.cpus,
        "gpus": service.gpus_per_replica if member.gpus is None else member.gpus,
        "threads": member.threads,
        "replicas": {
            "min": member.min,
            "max": member.max,
            "downscale_delay_seconds": member.downscale_delay_seconds,
        },
    }
