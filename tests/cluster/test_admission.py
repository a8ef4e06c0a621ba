"""Whatever a spec may ask for, KubeRay and Kueue of the versions that it names admit what is rendered."""

import copy
from typing import Any

import pytest
import yaml

from cluster.admission import cluster_of, is_quoted_json, kuberay_refuses, kueue_refuses
from cluster.schemas import VERSIONS, as_kubernetes_reads, problems
from cluster.specs import ASKED, CLUSTER, FIXED, SPEC, changed
from polyglossa.cluster.kuberay import manifests
from polyglossa.cluster.serve_config import serve_config

Json = dict[str, Any]
RAY_KINDS = ("RayCluster", "RayJob", "RayService", "RayCronJob")
FOREIGN_KINDS = ("WorkloadPriorityClass", "Gateway", "HTTPRoute")
RENDERED = {name: manifests(changed(**asked), "1.0") for name, asked in ASKED.items()}


def rayed(name: str) -> list[Json]:
    """KubeRay's resources of a rendering."""
    return [one for documents in RENDERED[name].values() for one in documents if one["kind"] in RAY_KINDS]


def one_of(name: str, file: str) -> Json:
    """First document of a rendered file."""
    return RENDERED[name][file][0]


@pytest.mark.parametrize("name", ASKED)
def test_kuberay_admits_everything_that_a_spec_may_ask_for(name: str) -> None:
    operators = changed(**ASKED[name]).operators
    for document in rayed(name):
        assert kuberay_refuses(document, operators.kuberay, frozenset(operators.gates)) == []
        assert problems(document, operators.kuberay) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_the_shipped_manifests_are_admitted_by_every_version_of_kuberay(version: str) -> None:
    rendered = manifests(changed(operators={"kuberay": version}), "1.0")
    for document in (one for documents in rendered.values() for one in documents if one["kind"] in RAY_KINDS):
        assert kuberay_refuses(document, version) == []
        assert problems(document, version) == []


def test_the_token_is_the_specs_where_kuberay_can_be_told_it() -> None:
    for version, own in (("1.5", None), ("1.6", "polyglossa-ray-token"), ("1.7", "polyglossa-ray-token")):
        (cluster,) = manifests(changed(operators={"kuberay": version}), "1.0")["raycluster.yaml"]
        assert cluster["spec"]["authOptions"].get("secretName") == own
    assert manifests(changed(operators={"kuberay": "1.6"}), "1.0") == manifests(SPEC, "1.0")


@pytest.mark.parametrize("name", [name for name, asked in ASKED.items() if "kueue" in asked.get("operators", {})])
def test_kueue_admits_jobs_the_standing_cluster_and_the_endpoint(name: str) -> None:
    spec = changed(**ASKED[name])
    assert spec.operators.kueue
    for document in rayed(name):
        if document["kind"] != "RayService" or spec.service.queue:
            assert document["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] in ("team", "front")
            assert kueue_refuses(document, spec.operators.kueue, frozenset(spec.operators.gates)) == []


def test_kueue_refuses_what_scales_without_being_an_elastic_job() -> None:
    job = copy.deepcopy(one_of("kueue-elastic", "rayjob-train.yaml"))
    assert kueue_refuses(job, "0.16") != []
    assert kueue_refuses(job, "0.13", frozenset({"ElasticJobsViaWorkloadSlices"})) != []
    del job["metadata"]["annotations"]
    assert kueue_refuses(job, "0.18") != []
    assert kueue_refuses(one_of("plain", "raycluster.yaml"), "0.18", manages_all=True) != []


def test_a_cluster_that_does_not_scale_has_its_sizes_and_no_autoscaler() -> None:
    cluster = cluster_of(one_of("kueue-fixed", "rayjob-train.yaml"))
    assert cluster["enableInTreeAutoscaling"] is False
    assert "autoscalerOptions" not in cluster
    sizes = {
        one["groupName"]: (one["minReplicas"], one["replicas"], one["maxReplicas"])
        for one in cluster["workerGroupSpecs"]
    }
    assert sizes == {"cpu": (4, 4, 4), "train": (2, 2, 2), "embed": (4, 4, 4)}
    assert one_of("kueue-fixed", "rayjob-train.yaml")["spec"]["suspend"]
    assert not one_of("volcano", "rayjob-train.yaml")["spec"]["suspend"], "nobody would resume it"


def test_a_group_of_no_nodes_is_left_out_of_a_fixed_cluster() -> None:
    spec = changed(jobs={"autoscale": False}, groups=FIXED | {"train": {"fixed": 0, "idle_seconds": None}})
    (job,) = manifests(spec, "1.0")["rayjob-corpus.yaml"]
    assert [group["groupName"] for group in cluster_of(job)["workerGroupSpecs"]] == ["cpu", "embed"]


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("volcano", {"volcano.sh/queue-name": "team"}),
        ("yunikorn", {"yunikorn.apache.org/queue": "root.team", "ray.io/gang-scheduling-enabled": "true"}),
        ("kai", {"kai.scheduler/queue": "team"}),
    ],
)
def test_gang_schedulers_find_their_queue(name: str, labels: dict[str, str]) -> None:
    for file in ("rayjob-train.yaml", "raycluster.yaml"):
        assert labels.items() <= one_of(name, file)["metadata"]["labels"].items()


def test_kai_and_jobs_that_outlive_their_head_are_submitted_by_the_operator() -> None:
    # v1.7.0 batchscheduler/kai-scheduler/kai_scheduler.go:44-48 refuses K8sJobMode; a submitter ends with its head.
    for name in ("kai", "redis"):
        job = one_of(name, "rayjob-train.yaml")["spec"]
        assert job["submissionMode"] == "HTTPMode"
        assert "submitterPodTemplate" not in job
    assert one_of("plain", "rayjob-train.yaml")["spec"]["submissionMode"] == "K8sJobMode"


def test_a_driver_that_outlives_the_head_runs_on_its_own_group() -> None:
    job = one_of("redis", "rayjob-train.yaml")["spec"]
    assert job["entrypointResources"] == '{"driver": 1}'
    groups = {group["groupName"]: group for group in job["rayClusterSpec"]["workerGroupSpecs"]}
    assert is_quoted_json(groups["drivers"]["rayStartParams"]["resources"])
    assert "resources" not in groups["cpu"]["rayStartParams"]


def test_the_control_store_may_reach_redis_and_nothing_else_is_opened() -> None:
    options = cluster_of(one_of("redis", "rayservice.yaml"))["gcsFaultToleranceOptions"]
    assert options["redisAddress"] == "redis://redis.databases:6379"
    assert options["redisPassword"]["valueFrom"]["secretKeyRef"] == {"name": "redis", "key": "password"}
    opened = {name: _egress(RENDERED[name]["support.yaml"]) for name in ("plain", "redis")}
    assert opened["redis"] - opened["plain"] == {6379}


def _egress(documents: list[Json]) -> set[int]:
    (policy,) = (one for one in documents if one["kind"] == "NetworkPolicy" and "egress" in one["spec"])
    return {port["port"] for rule in policy["spec"]["egress"] for port in rule.get("ports", [])}


def test_without_fault_tolerance_no_job_has_it_and_a_head_is_not_drained() -> None:
    assert "gcsFaultToleranceOptions" not in cluster_of(one_of("rocksdb", "rayjob-train.yaml"))
    assert "gcsFaultToleranceOptions" in cluster_of(one_of("rocksdb", "rayservice.yaml"))
    budgets = {
        name: next(
            one["spec"]["maxUnavailable"]
            for one in RENDERED[name]["support.yaml"]
            if one["kind"] == "PodDisruptionBudget" and one["metadata"]["name"] == "polyglossa-head"
        )
        for name in ("plain", "redis")
    }
    assert budgets == {"plain": 0, "redis": 1}


@pytest.mark.parametrize("name", ASKED)
def test_the_endpoint_asks_for_keys_from_a_secret_that_is_mounted_as_a_folder(name: str) -> None:
    service = one_of(name, "rayservice.yaml")["spec"]
    (application,) = yaml.safe_load(service["serveConfigV2"])["applications"]
    assert application["args"]["keys_file"] == "/etc/polyglossa/keys.json"
    cluster = service["rayClusterConfig"]
    for template in [cluster["headGroupSpec"]["template"], *(one["template"] for one in cluster["workerGroupSpecs"])]:
        (mount,) = (one for one in template["spec"]["containers"][0]["volumeMounts"] if one["name"] == "keys")
        assert mount == {"name": "keys", "mountPath": "/etc/polyglossa", "readOnly": True}, "a sub-path never changes"
        assert {"name": "keys", "secret": {"secretName": "polyglossa-api-keys"}} in template["spec"]["volumes"]


def test_the_rayservice_and_the_production_file_are_one_configuration() -> None:
    shipped = yaml.safe_load((CLUSTER.parent / "serve" / "config" / "production.yaml").read_text())
    assert shipped == yaml.safe_load(one_of("plain", "rayservice.yaml")["spec"]["serveConfigV2"]) == serve_config(SPEC)


def test_a_job_has_no_keys_of_the_endpoint() -> None:
    for template in [one["template"] for one in cluster_of(one_of("plain", "rayjob-train.yaml"))["workerGroupSpecs"]]:
        assert not any(volume["name"] == "keys" for volume in template["spec"]["volumes"])


@pytest.mark.parametrize("name", ASKED)
def test_kubernetes_reads_every_field(name: str) -> None:
    for documents in RENDERED[name].values():
        for document in documents:
            if document["kind"] in RAY_KINDS:
                cluster = cluster_of(document)
                for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
                    assert as_kubernetes_reads("V1PodTemplateSpec", group["template"]) == group["template"]
            elif document["kind"] not in FOREIGN_KINDS:
                assert as_kubernetes_reads(f"V1{document['kind']}", document) == document


def test_a_training_group_lies_in_one_domain_and_gets_its_devices() -> None:
    groups = {one["groupName"]: one for one in cluster_of(one_of("nodes", "rayjob-train.yaml"))["workerGroupSpecs"]}
    pod = groups["train"]["template"]["spec"]
    (term,) = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "topology.kubernetes.io/zone"
    assert term["matchLabelKeys"] == ["ray.io/cluster"], "two jobs need not share a zone"
    assert pod["containers"][0]["resources"]["limits"]["vpc.amazonaws.com/efa"] == "32"
    assert pod["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["IPC_LOCK"]}
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    assert groups["train"]["priority"] == 1
    assert groups["cpu"]["template"]["spec"]["nodeSelector"] == {"karpenter.sh/capacity-type": "spot"}
    asked = one_of("kueue-elastic-by-default", "rayjob-train.yaml")
    (train,) = (one for one in cluster_of(asked)["workerGroupSpecs"] if one["groupName"] == "train")
    assert train["template"]["metadata"]["annotations"] == {
        "kueue.x-k8s.io/podset-required-topology": "topology.kubernetes.io/zone"
    }


def test_images_are_held_on_the_machines_of_each_group() -> None:
    held = [one for one in RENDERED["nodes"]["support.yaml"] if one["kind"] == "DaemonSet"]
    images = {one["metadata"]["name"]: one["spec"]["template"]["spec"]["initContainers"][0]["image"] for one in held}
    assert images["polyglossa-image-train"].endswith(":1.0-cuda")
    assert images["polyglossa-image-cpu"].endswith(":1.0")
    selectors = [one["spec"]["template"]["spec"].get("nodeSelector") for one in held]
    assert {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"} in selectors


def test_priorities_are_rendered_and_used() -> None:
    kinds = [(one["kind"], one["metadata"]["name"]) for one in RENDERED["kueue-elastic-by-default"]["support.yaml"]]
    assert {("PriorityClass", "live"), ("WorkloadPriorityClass", "live")} <= set(kinds)
    job = one_of("kueue-elastic-by-default", "rayjob-train.yaml")
    assert job["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "batch"
    assert cluster_of(job)["headGroupSpec"]["template"]["spec"]["priorityClassName"] == "batch"
    service = one_of("kueue-elastic-by-default", "rayservice.yaml")
    assert cluster_of(service)["headGroupSpec"]["template"]["spec"]["priorityClassName"] == "live"


def test_tls_ends_before_the_endpoints_own_service() -> None:
    ingress = RENDERED["ingress"]["rayservice.yaml"][1]
    backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": "polyglossa-serve-serve-svc", "port": {"number": 8000}}
    assert ingress["spec"]["tls"] == [{"hosts": ["e.org"], "secretName": "tls"}]
    gateway, route = RENDERED["gateway"]["rayservice.yaml"][1:]
    assert gateway["spec"]["listeners"][0]["tls"]["mode"] == "Terminate"
    assert route["spec"]["rules"][0]["backendRefs"][0]["name"] == backend["name"]


WRONG: dict[str, tuple[str, str, Any, str]] = {
    "legacy and rules": ("rayjob-train.yaml", "deletionStrategy", {"onSuccess": {}, "deletionRules": []}, "requires"),
    "times that fall": (
        "rayjob-train.yaml",
        "deletionStrategy",
        {
            "deletionRules": [
                {"condition": {"jobStatus": "FAILED", "ttlSeconds": 9}, "policy": "DeleteCluster"},
                {"condition": {"jobStatus": "FAILED", "ttlSeconds": 3}, "policy": "DeleteSelf"},
            ]
        },
        "must not fall",
    ),
    "both conditions": (
        "rayjob-train.yaml",
        "deletionStrategy",
        {
            "deletionRules": [
                {"condition": {"jobStatus": "FAILED", "jobDeploymentStatus": "Failed", "ttlSeconds": 1}, "policy": "x"}
            ]
        },
        "either the JobStatus",
    ),
    "no gateway": (
        "rayservice.yaml",
        "upgradeStrategy",
        {
            "type": "NewClusterWithIncrementalUpgrade",
            "clusterUpgradeOptions": {"stepSizePercent": 5, "intervalSeconds": 1},
        },
        "gatewayClassName",
    ),
    "unknown upgrade": ("rayservice.yaml", "upgradeStrategy", {"type": "Rolling"}, "is invalid"),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_transcribed_rules_refuse_what_the_webhook_refuses(name: str) -> None:
    file, field, value, complaint = WRONG[name]
    document = copy.deepcopy(one_of("deletion" if file == "rayjob-train.yaml" else "plain", file))
    document["spec"][field] = value
    assert complaint in " ".join(kuberay_refuses(document, "1.7"))


def test_a_field_of_a_newer_kuberay_is_found_where_an_older_one_is_installed() -> None:
    assert kuberay_refuses(one_of("history", "raycluster.yaml"), "1.6", frozenset({"RayClusterHistoryServer"})) != []
    assert kuberay_refuses(one_of("cron", "raycronjob-mine.yaml"), "1.6", frozenset({"RayCronJob"})) == [
        "timeZone is not in the CRD of 1.6"
    ]
