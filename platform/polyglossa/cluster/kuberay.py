"""Kubernetes manifests of a spec: the RayCluster, a RayJob per stage and for the pipeline, the RayService.

`support` has what they need around them, `queues` what lets them in. Pure data; `render` writes it.
"""

from collections.abc import Mapping

import yaml

from polyglossa.cluster.pods import APP_LABEL, DRIVER, USER_ID, Json, cluster_spec
from polyglossa.cluster.queues import job_annotations, job_labels, service_annotations, service_labels
from polyglossa.cluster.serve_config import serve_config
from polyglossa.cluster.spec import ClusterSpec, Schedule
from polyglossa.cluster.support import support
from polyglossa.cluster.tls import tls
from polyglossa.pipeline.stages import STAGES

PIPELINE = "pipeline"


def job_names() -> list[str]:
    """Name the RayJobs: every stage that has a command of its own, and the pipeline."""
    return [*(stage.name for stage in STAGES.values() if stage.has_job), PIPELINE]


def manifests(spec: ClusterSpec, version: str) -> dict[str, list[Json]]:
    """Return the manifests, file name → documents."""
    files = {
        "support.yaml": support(spec, version),
        "raycluster.yaml": [ray_cluster(spec, version)],
        "rayservice.yaml": [ray_service(spec, version), *tls(spec)],
    }
    files |= {f"rayjob-{name}.yaml": [ray_job(spec, version, name)] for name in job_names()}
    return files | {f"raycronjob-{one.job}.yaml": [ray_cron_job(spec, version, one)] for one in spec.jobs.schedules}


def ray_cluster(spec: ClusterSpec, version: str) -> Json:
    """Describe a standing cluster with every group, for `ray job submit`."""
    body = cluster_spec(spec, version, tuple(spec.groups), standing=True)
    return _resource(spec, "RayCluster", spec.name, body, job_labels(spec), job_annotations(spec))


def ray_job(spec: ClusterSpec, version: str, name: str) -> Json:
    """Describe a job that brings its own cluster, runs one stage (and what it needs) or the pipeline, and leaves.

    Groups start empty and cost nothing until the job asks for them, unless the spec's clusters have fixed sizes. A job
    that fails is tried again on a new cluster and goes on from the artifacts that are there.
    """
    body = _job(spec, version, name)
    return _resource(spec, "RayJob", f"{spec.name}-{name}", body, job_labels(spec), job_annotations(spec))


def ray_cron_job(spec: ClusterSpec, version: str, schedule: Schedule) -> Json:
    """Describe a job that runs on a schedule: what did not change since the last time is found and reused."""
    body: Json = {"schedule": schedule.cron}
    if schedule.time_zone:
        body["timeZone"] = schedule.time_zone
    if schedule.suspended:
        body["suspend"] = True
    body["jobTemplate"] = _job(spec, version, schedule.job)
    name = f"{spec.name}-{schedule.job}"
    return _resource(spec, "RayCronJob", name, body, job_labels(spec), job_annotations(spec))


def ray_service(spec: ClusterSpec, version: str) -> Json:
    """Describe the endpoint; a change makes a new cluster, and traffic moves when that one is healthy."""
    service = {
        "serviceUnhealthySecondThreshold": 900,
        "deploymentUnhealthySecondThreshold": 300,
        "rayClusterDeletionDelaySeconds": spec.service.keep_old_seconds,
        "excludeHeadPodFromServeSvc": True,
        "upgradeStrategy": _upgrade(spec),
        "serveConfigV2": yaml.safe_dump(serve_config(spec), sort_keys=False),
        "rayClusterConfig": cluster_spec(spec, version, (spec.service.group,), standing=True, serving=True),
    }
    return _resource(spec, "RayService", f"{spec.name}-serve", service, service_labels(spec), service_annotations(spec))


def _job(spec: ClusterSpec, version: str, name: str) -> Json:
    groups = [
        group for group in spec.groups if group != spec.service.group or (name == PIPELINE and spec.jobs.autoscale)
    ]
    jobs = spec.jobs
    entrypoint = f"python jobs/{name}.py {jobs.recipe} --profile {jobs.profile} --set storage={spec.storage.root}"
    # A submitter's pod ends with the head that it follows, and KAI takes none; the operator submits and asks instead.
    by_operator = spec.fault_tolerance.jobs or (jobs.queue is not None and jobs.scheduler == "kai")
    return {
        "entrypoint": entrypoint,
        **({"entrypointResources": f'{{"{DRIVER}": 1}}'} if spec.fault_tolerance.jobs else {}),
        **(
            {"submissionMode": "HTTPMode"}
            if by_operator
            else {"submissionMode": "K8sJobMode", "submitterPodTemplate": _submitter(spec, version)}
        ),
        "backoffLimit": jobs.retries,
        "activeDeadlineSeconds": jobs.deadline_seconds,
        **_end(spec),
        "suspend": jobs.suspended or (jobs.by_kueue and not jobs.autoscale),
        "rayClusterSpec": cluster_spec(spec, version, groups),
    }


def _end(spec: ClusterSpec) -> Json:
    """Say when a finished job's cluster goes, and when the job itself does."""
    jobs = spec.jobs
    if jobs.keep_failed_seconds is None:
        return {"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": jobs.keep_seconds}
    times = {"SUCCEEDED": jobs.keep_seconds, "FAILED": jobs.keep_failed_seconds}
    rules = [_rule(status, seconds, "DeleteCluster") for status, seconds in times.items()]
    if jobs.forget_seconds is not None:
        rules += [_rule(status, jobs.forget_seconds, "DeleteSelf") for status in times]
    return {"shutdownAfterJobFinishes": False, "deletionStrategy": {"deletionRules": rules}}


def _rule(status: str, seconds: int, policy: str) -> Json:
    return {"condition": {"jobStatus": status, "ttlSeconds": seconds}, "policy": policy}


def _upgrade(spec: ClusterSpec) -> Json:
    upgrade = spec.service.upgrade
    if upgrade.kind != "incremental":
        return {"type": "NewCluster" if upgrade.kind == "new_cluster" else "None"}
    return {
        "type": "NewClusterWithIncrementalUpgrade",
        "clusterUpgradeOptions": {
            "gatewayClassName": upgrade.gateway_class,
            "stepSizePercent": upgrade.step_percent,
            "intervalSeconds": upgrade.interval_seconds,
            "maxSurgePercent": upgrade.surge_percent,
        },
    }


def _resource(
    spec: ClusterSpec, kind: str, name: str, body: Json, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> Json:
    metadata: Json = {"name": name, "namespace": spec.namespace, "labels": {APP_LABEL: spec.name, **labels}}
    if annotations:
        metadata["annotations"] = dict(annotations)
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
