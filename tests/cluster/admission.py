"""What admits a manifest: the rules of KubeRay's and Kueue's webhooks and the CEL rules of KubeRay's CRDs, transcribed.

Each rule carries where it stands: KubeRay's at tag v1.7.0 below `ray-operator/controllers/ray/utils/`, its CEL rules
below `ray-operator/config/crd/bases/`, Kueue's at the tag that the rule names below `pkg/controller/jobs/`. A rule
yields what it refuses. Schemas and the Kubernetes client's models are in `schemas`.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
Gates = frozenset[str]

KUBERAY_ON_BY_DEFAULT = {
    "1.5": frozenset[str](),
    "1.6": frozenset({"RayJobDeletionPolicy"}),
    "1.7": frozenset({"RayJobDeletionPolicy", "RayServiceIncrementalUpgrade"}),
}
"""pkg/features/features.go at v1.5.2:50-52, v1.6.0:65-68, v1.7.0:90-101: gates that are on without being named."""

FIELDS_SINCE = {
    "1.6": (
        "authOptions.secretName",
        "preRunningDeadlineSeconds",
        "rayClusterSpec.upgradeStrategy",
        "jobDeploymentStatus",
    ),
    "1.7": (
        "gcsFaultToleranceOptions.backend",
        "gcsFaultToleranceOptions.storage",
        "historyServerOptions",
        "networkPolicy",
        "tlsOptions",
        "workerGroupSpecs.priority",
        "timeZone",
    ),
}
"""Fields that a version of the CRDs is the first to have (difference of the CRDs of v1.5.2, v1.6.0 and v1.7.0)."""


def cluster_of(document: Json) -> Json:
    """Find the cluster inside any KubeRay resource."""
    body = document["spec"].get("jobTemplate") or document["spec"]
    cluster: Json = body.get("rayClusterSpec") or body.get("rayClusterConfig") or body
    return cluster


def kuberay_refuses(document: Json, version: str, gates: Gates = frozenset()) -> list[str]:
    """List what KubeRay's webhook, its reconciler's checks and its CRD's CEL rules say against a resource."""
    on = KUBERAY_ON_BY_DEFAULT[version] | gates
    found = [*_names(document), *_cluster(cluster_of(document), on), *_too_new(document, version)]
    kind = document["kind"]
    if kind == "RayJob":
        found += _job(document["spec"], on)
    elif kind == "RayCronJob":
        found += [*_cron_job(document["spec"], version, on), *_job(document["spec"]["jobTemplate"], on)]
    elif kind == "RayService":
        found += _service(document["spec"], on)
    return found


def kueue_refuses(document: Json, version: str, gates: Gates = frozenset(), *, manages_all: bool = False) -> list[str]:
    """List what Kueue's webhooks say against a resource.

    Args:
        document: RayCluster, RayJob or RayService.
        version: of Kueue.
        gates: switched on beyond the defaults.
        manages_all: `manageJobsWithoutQueueName`, under which resources without a queue are managed too.
    """
    metadata = document["metadata"]
    if not manages_all and "kueue.x-k8s.io/queue-name" not in metadata.get("labels", {}):
        return []
    return list(_kueue(document, tuple(int(part) for part in version.split(".")), gates))


def _names(document: Json) -> Iterator[str]:
    """constant.go:375-385, validation.go:32-40, 533-541, 632-638, 969-973."""
    most = {"RayCluster": 53, "RayJob": 47, "RayService": 47, "RayCronJob": 36}[document["kind"]]
    name = document["metadata"]["name"]
    if len(name) > most:
        yield f"{document['kind']} name should be no more than {most} characters"
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        yield f"{document['kind']} name should be a valid DNS1035 label"


def _cluster(cluster: Json, on: Gates) -> Iterator[str]:
    scales = cluster.get("enableInTreeAutoscaling", False)
    head = cluster["headGroupSpec"]
    for group in [head, *cluster["workerGroupSpecs"]]:
        name = group.get("groupName", "Head")
        if not group["template"]["spec"]["containers"]:  # validation.go:104, 119
            yield f"{name}: should have at least one container"
        if group.get("resources") and {"num-cpus", "num-gpus", "memory", "resources"} & group["rayStartParams"].keys():
            yield f"{name}: resource fields in both rayStartParams and Resources"  # validation.go:60-69
        if "labels" in group["rayStartParams"]:  # validation.go:72-75
            yield f"{name}: rayStartParams['labels'] is not supported"
        for key, value in group.get("labels", {}).items():  # validation.go:79-93
            if not re.fullmatch(r"([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?", key):
                yield f"{name}: invalid label key {key}"
            if not re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?", value) or len(value) > 63:
                yield f"{name}: invalid label value {value}"
    for group in cluster["workerGroupSpecs"]:
        yield from _worker_group(group, cluster, scales)
    yield from _head_state(cluster, head, on)
    if scales and cluster["autoscalerOptions"]["version"] == "v2":  # validation.go:226-236
        for group in [head, *cluster["workerGroupSpecs"]]:
            if group["template"]["spec"].get("restartPolicy", "Never") != "Never":
                yield "restartPolicy should be Never or unset when using autoscaler V2"
    if "historyServerOptions" in cluster:
        yield from _collector(cluster["historyServerOptions"], on)
    if cluster.get("authOptions", {}).get("mode") == "token" and _version(cluster["rayVersion"]) < (2, 52):
        yield "authOptions.mode is 'token' but minimum Ray version is 2.52.0"  # validation.go:284-298
    if "networkPolicy" in cluster and "RayClusterNetworkPolicy" not in on:  # validation.go:316
        yield "spec.networkPolicy requires the RayClusterNetworkPolicy feature gate"
    if "tlsOptions" in cluster and "RayClusterMTLS" not in on:  # validation.go:323
        yield "spec.tlsOptions requires the RayClusterMTLS feature gate"


def _worker_group(group: Json, cluster: Json, scales: bool) -> Iterator[str]:
    name = group["groupName"]
    if not scales and not {"minReplicas", "maxReplicas"} <= group.keys():  # validation.go:125
        yield f"worker group {name} must set both minReplicas and maxReplicas when autoscaling is disabled"
    if group.get("minReplicas", 0) > group.get("maxReplicas", 2**31):  # validation.go:134-138
        yield f"worker group {name} has minReplicas greater than maxReplicas"
    v2 = scales and cluster["autoscalerOptions"].get("version") == "v2"
    if "idleTimeoutSeconds" in group and not v2:  # validation.go:1006-1027
        yield f"worker group {name}: idleTimeoutSeconds is set, but autoscaler v2 is not enabled"
    if group.get("priority") and not (v2 and _version(cluster["rayVersion"]) >= (2, 56)):  # validation.go:1113-1141
        yield f"worker group {name}: priority needs autoscaler v2 and Ray 2.56"


def _head_state(cluster: Json, head: Json, on: Gates) -> Iterator[str]:
    container = head["template"]["spec"]["containers"][0]
    names = {variable["name"] for variable in container.get("env", [])}
    options = cluster.get("gcsFaultToleranceOptions")
    if options is None:
        if "RAY_REDIS_ADDRESS" in names:  # validation.go:158-164
            yield "RAY_REDIS_ADDRESS is set but GcsFaultToleranceOptions is not"
        return
    if {"REDIS_PASSWORD", "RAY_REDIS_ADDRESS", "REDIS_USERNAME"} & names:  # validation.go:173-195
        yield "Redis settings in the head's environment while GcsFaultToleranceOptions is enabled"
    if options.get("backend", "redis") == "rocksdb":  # validation.go:335-368
        if "GCSFaultToleranceEmbeddedStorage" not in on:
            yield "the embedded RocksDB backend requires the GCSFaultToleranceEmbeddedStorage feature gate"
        if {"redisAddress", "redisUsername", "redisPassword", "externalStorageNamespace"} & options.keys():
            yield "redis fields when backend is 'rocksdb'"
        if any(mount["mountPath"] == "/data/gcs" for mount in container["volumeMounts"]):
            yield "a volume is mounted at /data/gcs, which KubeRay manages"
    elif "storage" in options:  # validation.go:369-372
        yield "cannot set GcsFaultToleranceOptions.Storage when backend is 'redis'"


def _collector(options: Json, on: Gates) -> Iterator[str]:
    """validation.go:260-267, 1029-1110."""
    if "RayClusterHistoryServer" not in on:
        yield "RayClusterHistoryServer feature gate is not enabled"
    collector = options.get("collectorOptions")
    if not collector or not collector.get("image"):
        yield "historyServerOptions.collectorOptions.image must be set"
        return
    given = {variable["name"]: variable.get("value") for variable in collector["env"]}
    needed = {"S3": "S3_REGION", "GCS": "GCS_BUCKET"}.get(given.get("STORAGE_BACKEND") or "")
    if needed is None or not given.get(needed):
        yield f"{needed or 'STORAGE_BACKEND'} environment variable must be set"


def _job(spec: Json, on: Gates) -> Iterator[str]:
    shuts = spec.get("shutdownAfterJobFinishes", False)
    if spec.get("suspend") and not shuts:  # validation.go:547
        yield "a RayJob with shutdownAfterJobFinishes set to false is not allowed to be suspended"
    if not shuts and spec.get("ttlSecondsAfterFinished", 0) > 0:  # validation.go:753
        yield "a RayJob with shutdownAfterJobFinishes set to false cannot have TTLSecondsAfterFinished"
    if spec.get("submissionMode") == "SidecarMode" and "submitterPodTemplate" in spec:  # validation.go:591
        yield "SidecarMode doesn't support SubmitterPodTemplate"
    if spec.get("backoffLimit", 0) < 0 or spec.get("activeDeadlineSeconds", 1) <= 0:  # validation.go:619-627
        yield "backoffLimit and activeDeadlineSeconds must be positive"
    strategy = spec.get("deletionStrategy")
    if strategy is not None:
        yield from _deletion(strategy, spec, shuts, on)


def _deletion(strategy: Json, spec: Json, shuts: bool, on: Gates) -> Iterator[str]:
    rules, legacy = strategy.get("deletionRules"), {"onSuccess", "onFailure"} & strategy.keys()
    if "RayJobDeletionPolicy" not in on:  # validation.go:763
        yield "RayJobDeletionPolicy feature gate must be enabled to use DeletionStrategy"
    if rules and shuts:  # validation.go:771
        yield "shutdownAfterJobFinishes and deletionRules are mutually exclusive"
    if rules and legacy:  # ray.io_rayjobs.yaml, CEL of deletionStrategy
        yield "legacy policies and deletionRules cannot be used together"
    if not rules and len(legacy) < 2:  # ray.io_rayjobs.yaml, CEL of deletionStrategy
        yield "deletionStrategy requires either BOTH onSuccess and onFailure, OR the deletionRules field"
    times: dict[str, dict[str, int]] = {}
    for rule in rules or []:
        condition = rule["condition"]
        if len({"jobStatus", "jobDeploymentStatus"} & condition.keys()) != 1:  # CEL of condition; validation.go:871-880
            yield "the deletion condition requires either the JobStatus or the JobDeploymentStatus field"
            continue
        if rule["policy"] == "DeleteWorkers" and spec["rayClusterSpec"].get("enableInTreeAutoscaling"):
            yield "DeleteWorkers not supported with autoscaling enabled"  # validation.go:819
        status = condition.get("jobStatus") or condition["jobDeploymentStatus"]
        if rule["policy"] in times.setdefault(status, {}):  # validation.go:832, 844
            yield "duplicate rule"
        times[status][rule["policy"]] = condition["ttlSeconds"]
    for status, by_policy in times.items():  # validation.go:892-925
        order = [by_policy[name] for name in ("DeleteWorkers", "DeleteCluster", "DeleteSelf") if name in by_policy]
        if order != sorted(order):
            yield f"for {status}: TTLs must not fall from workers to cluster to self"


def _cron_job(spec: Json, version: str, on: Gates) -> Iterator[str]:
    """validation.go:969-1003; the resource is new in v1.6.0."""
    if version == "1.5":
        yield "there is no RayCronJob"
    if "RayCronJob" not in on:
        yield "RayCronJob feature gate is not enabled"
    if "TZ" in spec["schedule"] or len(spec["schedule"].split()) != 5:
        yield "invalid cron schedule"
    if spec.get("timeZone") == "":
        yield "timeZone must not be empty string"


def _service(spec: Json, on: Gates) -> Iterator[str]:
    strategy = spec.get("upgradeStrategy", {})
    kind = strategy.get("type", "NewCluster")
    if kind not in ("None", "NewCluster", "NewClusterWithIncrementalUpgrade"):  # validation.go:694-700
        yield f"Spec.UpgradeStrategy.Type value {kind} is invalid"
    if kind != "NewClusterWithIncrementalUpgrade":
        return
    if "RayServiceIncrementalUpgrade" not in on:  # utils/util.go, IsIncrementalUpgradeEnabled: ignored in silence
        yield "RayServiceIncrementalUpgrade feature gate is not enabled"
    options = strategy.get("clusterUpgradeOptions")
    if not spec["rayClusterConfig"].get("enableInTreeAutoscaling"):  # validation.go:718
        yield "Ray Autoscaler is required for NewClusterWithIncrementalUpgrade"
    if options is None:  # validation.go:723
        yield "ClusterUpgradeOptions are required for NewClusterWithIncrementalUpgrade"
        return
    step, surge = options.get("stepSizePercent", -1), options.get("maxSurgePercent", 100)
    if not (0 <= step <= surge <= 100) or options.get("intervalSeconds", 0) <= 0:  # validation.go:728-742
        yield "stepSizePercent must lie within maxSurgePercent, and intervalSeconds above 0"
    if not options.get("gatewayClassName"):  # validation.go:744
        yield "gatewayClassName is required for NewClusterWithIncrementalUpgrade"


def _too_new(document: Json, version: str) -> Iterator[str]:
    """Fields that this version's CRD does not have are dropped by the API server without a word."""
    paths = set(_paths(document["spec"]))
    for since, fields in FIELDS_SINCE.items():
        if _version(since) > _version(version):
            yield from (f"{field} is not in the CRD of {version}" for field in fields if _has(paths, field))


def _has(paths: set[str], field: str) -> bool:
    return any(path == field or path.endswith(f".{field}") for path in paths)


def _paths(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _paths(item, path)
    if isinstance(value, dict):
        for name, item in value.items():
            yield f"{path}.{name}".removeprefix(".")
            if name not in ("template", "submitterPodTemplate"):
                yield from _paths(item, f"{path}.{name}".removeprefix("."))


def _kueue(document: Json, version: tuple[int, ...], gates: Gates) -> Iterator[str]:
    cluster, spec, kind = cluster_of(document), document["spec"], document["kind"]
    annotated = document["metadata"].get("annotations", {}).get("kueue.x-k8s.io/elastic-job") == "true"
    # pkg/features/kube_features.go at v0.19.0:601-604; pkg/workloadslicing/workloadslicing.go:66
    elastic = annotated and ("ElasticJobsViaWorkloadSlices" in gates or version >= (0, 18))
    first_elastic = {"RayCluster": (0, 14), "RayJob": (0, 16), "RayService": (0, 17)}[kind]
    if cluster.get("enableInTreeAutoscaling") and not (elastic and version >= first_elastic):
        # v0.13.0 rayjob/rayjob_webhook.go:128; v0.16.0 rayjob_webhook.go:158; v0.19.0 raycluster/common.go:302
        yield "a kueue managed job should only use autoscaling when workload slicing is enabled"
    if kind == "RayJob":
        if cluster.get("enableInTreeAutoscaling") and spec.get("suspend") and version < (0, 17):
            yield "RayJob should not set suspend to true if autoscaling is enabled"  # v0.16.0 rayjob_webhook.go:94
        if not spec.get("shutdownAfterJobFinishes"):  # v0.19.0 rayjob/rayjob_webhook.go:140
            yield "a kueue managed job should delete the cluster after finishing"
    if kind == "RayService" and version < (0, 17):
        yield "Kueue has no integration of RayService"  # v0.17.0 is the first with pkg/controller/jobs/rayservice
    # v0.17.0 raycluster_webhook.go:147 (7 groups); v0.18.0 and v0.19.0 jobframework/constants.go:21 (10 and 18)
    most = 8 if version < (0, 18) else 10 if version < (0, 19) else 18
    if len(cluster["workerGroupSpecs"]) + 1 > most:
        yield f"must have at most {most} pod sets"
    if any(group["groupName"] == "head" for group in cluster["workerGroupSpecs"]):  # v0.19.0 raycluster/common.go:319
        yield '"head" is reserved for the head group'


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def is_quoted_json(text: str) -> bool:
    """Whether a start parameter is JSON in a JSON string, as KubeRay's shell wants `resources`."""
    return isinstance(json.loads(text), str) and isinstance(json.loads(json.loads(text)), dict)
