"""Kubernetes manifests of a spec: the RayCluster, a RayJob per stage and for the pipeline, the RayService.

`support` has what they need around them. Pure data; `render` writes it.
"""

from collections.abc import Mapping

import yaml

from polyglossa.cluster.pods import APP_LABEL, USER_ID, Json, cluster_spec
from polyglossa.cluster.spec import ClusterSpec
from polyglossa.cluster.support import support
from polyglossa.pipeline.stages import STAGES

PIPELINE = "pipeline"


def job_names() -> list[str]:
    """Name the RayJobs: every stage that has a command of its own, and the pipeline."""
    return [*(stage.name for stage in STAGES.values() if stage.has_job), PIPELINE]


def manifests(spec: ClusterSpec, version: str) -> dict[str, list[Json]]:
    """Return the manifests, file name → documents."""
    files = {
        "support.yaml": support(spec),
        "raycluster.yaml": [ray_cluster(spec, version)],
        "rayservice.yaml": [ray_service(spec, version)],
    }
    return files | {f"rayjob-{name}.yaml": [ray_job(spec, version, name)] for name in job_names()}


def ray_cluster(spec: ClusterSpec, version: str) -> Json:
    """Describe a standing cluster with every group, for `ray job submit`."""
    return _resource(spec, "RayCluster", spec.name, cluster_spec(spec, version, tuple(spec.groups), standing=True))


def ray_job(spec: ClusterSpec, version: str, name: str) -> Json:
    """Describe a job that brings its own cluster, runs one stage (and what it needs) or the pipeline, and leaves.

    Groups start empty and cost nothing until the job asks for them. A job that fails is tried again on a new cluster
    and goes on from the artifacts that are there.
    """
    groups = [group for group in spec.groups if name == PIPELINE or group != spec.service.group]
    jobs = spec.jobs
    entrypoint = f"python jobs/{name}.py {jobs.recipe} --profile {jobs.profile} --set storage={spec.storage.root}"
    job = {
        "entrypoint": entrypoint,
        "submissionMode": "K8sJobMode",
        "submitterPodTemplate": _submitter(spec, version),
        "backoffLimit": jobs.retries,
        "activeDeadlineSeconds": jobs.deadline_seconds,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": jobs.keep_seconds,
        "suspend": jobs.queue is not None,
        "rayClusterSpec": cluster_spec(spec, version, groups),
    }
    labels = {"kueue.x-k8s.io/queue-name": jobs.queue} if jobs.queue else {}
    return _resource(spec, "RayJob", f"{spec.name}-{name}", job, labels)


def ray_service(spec: ClusterSpec, version: str) -> Json:
    """Describe the endpoint; a change makes a new cluster, and traffic moves when that one is healthy."""
    service = {
        "serviceUnhealthySecondThreshold": 900,
        "deploymentUnhealthySecondThreshold": 300,
        "rayClusterDeletionDelaySeconds": spec.service.keep_old_seconds,
        "excludeHeadPodFromServeSvc": True,
        "upgradeStrategy": {"type": "NewCluster"},
        "serveConfigV2": yaml.safe_dump(serve_config(spec), sort_keys=False),
        "rayClusterConfig": cluster_spec(spec, version, (spec.service.group,), standing=True, serving=True),
    }
    return _resource(spec, "RayService", f"{spec.name}-serve", service)


def serve_config(spec: ClusterSpec) -> Json:
    """Describe the application for Ray Serve."""
    service = spec.service
    members = [
        {
            "name": member.name,
            "path": member.path,
            "dtype": service.dtype,
            "cpus": service.cpus_per_replica,
            "gpus": service.gpus_per_replica,
            "replicas": {"min": member.min, "max": member.max},
        }
        for member in service.members
    ]
    application = {
        "name": spec.name,
        "route_prefix": "/",
        "import_path": "serve.app:build",
        "args": {"members": members, "ingress": {"min": 1, "max": 4}},
    }
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": 8000},
        "applications": [application],
    }


def _resource(spec: ClusterSpec, kind: str, name: str, body: Json, labels: Mapping[str, str] | None = None) -> Json:
    metadata = {"name": name, "namespace": spec.namespace, "labels": {APP_LABEL: spec.name, **(labels or {})}}
    return {"apiVersion": "ray.io/v1", "kind": kind, "metadata": metadata, "spec": body}


def _submitter(spec: ClusterSpec, version: str) -> Json:
    wanted = {"cpu": "500m", "memory": "1Gi"}
    container = {
        "name": "ray-job-submitter",
        "image": spec.image_of(spec.head, version),
        "resources": {"requests": wanted, "limits": wanted},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "runAsUser": USER_ID, "seccompProfile": {"type": "RuntimeDefault"}}
    pod: Json = {"restartPolicy": "Never", "containers": [container], "securityContext": security}
    if spec.image.pull_secret:
        pod["imagePullSecrets"] = [{"name": spec.image.pull_secret}]
    return {"metadata": {"labels": {APP_LABEL: spec.name}}, "spec": pod}
