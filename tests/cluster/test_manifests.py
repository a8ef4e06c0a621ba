"""One spec, everything else derived: manifests are current, valid for KubeRay and Kubernetes, and agree on versions."""

import copy
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from ray.autoscaler._private.util import prepare_config, validate_config

from cluster.schemas import ROOT, as_kubernetes_reads, problems
from cluster.specs import CLUSTER, SPEC, changed
from polyglossa import __version__
from polyglossa.cluster.kuberay import job_names, manifests
from polyglossa.cluster.render import render, stale, write
from polyglossa.errors import RecipeError
from polyglossa.recipe import load_profile

FILES = manifests(SPEC, __version__)
RAY_KINDS = ("RayCluster", "RayJob", "RayService")
DOCUMENTS = [(name, document) for name, documents in FILES.items() for document in documents]
ids = [f"{name}-{document['kind']}" for name, document in DOCUMENTS]


def pod_templates(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Every pod template of a KubeRay resource."""
    body = document["spec"]
    cluster = body.get("rayClusterSpec") or body.get("rayClusterConfig") or body
    templates = [cluster["headGroupSpec"]["template"], *(group["template"] for group in cluster["workerGroupSpecs"])]
    return [*templates, *([body["submitterPodTemplate"]] if "submitterPodTemplate" in body else [])]


def test_what_is_committed_is_what_the_spec_says() -> None:
    assert stale(CLUSTER) == [], "run `make manifests`"


def test_every_stage_and_the_pipeline_have_a_job() -> None:
    assert {f"rayjob-{name}.yaml" for name in job_names()} <= FILES.keys()
    for name in job_names():
        assert (ROOT / "jobs" / f"{name}.py").is_file()


@pytest.mark.parametrize(("name", "document"), [d for d in DOCUMENTS if d[1]["kind"] in RAY_KINDS])
def test_kuberay_accepts_every_field(name: str, document: dict[str, Any]) -> None:
    assert problems(document) == []


def test_a_misspelt_field_would_be_found() -> None:
    document = copy.deepcopy(FILES["raycluster.yaml"][0])
    document["spec"]["workerGroupSpecs"][0]["minReplica"] = 1
    document["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    document["spec"]["autoscalerOptions"]["version"] = "v3"
    found = " ".join(problems(document))
    assert "minReplica: unknown field" in found
    assert "readinesProbe: unknown field" in found
    assert "'v3' is not one of" in found


@pytest.mark.parametrize(("name", "document"), DOCUMENTS, ids=ids)
def test_kubernetes_reads_every_field(name: str, document: dict[str, Any]) -> None:
    if document["kind"] in RAY_KINDS:
        for template in pod_templates(document):
            assert as_kubernetes_reads("V1PodTemplateSpec", template) == template
    else:
        assert as_kubernetes_reads(f"V1{document['kind']}", document) == document


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_reads_every_file_without_a_cluster() -> None:
    """`kubectl create --dry-run=client` asks an API server for its schemas; a local label asks nobody."""
    files = [part for path in sorted((CLUSTER / "kuberay").glob("*.yaml")) for part in ("-f", str(path))]
    command = ["kubectl", "label", "--local", "--dry-run=client", *files, "read=yes", "-o", "name"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == len(DOCUMENTS)


def test_nothing_runs_as_root_or_keeps_a_capability_but_efa_s_right_to_lock_memory() -> None:
    for _, document in DOCUMENTS:
        for template in pod_templates(document) if document["kind"] in RAY_KINDS else []:
            assert template["spec"]["securityContext"]["runAsNonRoot"]
            for container in template["spec"]["containers"]:
                locks = {"add": ["IPC_LOCK"]} if "vpc.amazonaws.com/efa" in container["resources"]["limits"] else {}
                assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]} | locks
                assert not container["securityContext"]["allowPrivilegeEscalation"]


def test_every_cluster_asks_for_a_token_and_scales_by_itself() -> None:
    for _, document in DOCUMENTS:
        if document["kind"] not in RAY_KINDS:
            continue
        body = document["spec"]
        cluster = body.get("rayClusterSpec") or body.get("rayClusterConfig") or body
        assert cluster["authOptions"] == {"mode": "token", "secretName": SPEC.authentication.secret}
        assert cluster["enableInTreeAutoscaling"]
        assert cluster["autoscalerOptions"]["version"] == "v2"
        assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_a_jobs_cluster_starts_empty_and_leaves_when_done() -> None:
    for name in job_names():
        (job,) = FILES[f"rayjob-{name}.yaml"]
        assert job["spec"]["shutdownAfterJobFinishes"]
        assert job["spec"]["backoffLimit"] == SPEC.jobs.retries
        assert all(group["minReplicas"] == 0 for group in job["spec"]["rayClusterSpec"]["workerGroupSpecs"])


def test_a_bucket_takes_the_place_of_the_volume() -> None:
    members = [
        {"name": "small", "path": "s3://bucket/models/small"},
        {"name": "base", "path": "s3://bucket/models/base"},
    ]
    spec = changed(storage={"uri": "s3://bucket/polyglossa", "secret": "keys"}, service={"members": members})
    files = manifests(spec, "1.0")
    assert not [document for document in files["support.yaml"] if document["kind"] == "PersistentVolumeClaim"]
    (cluster,) = files["raycluster.yaml"]
    assert problems(cluster) == []
    container = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]
    (job,) = files["rayjob-pipeline.yaml"]
    assert "--set storage=s3://bucket/polyglossa" in job["spec"]["entrypoint"]


def test_groups_are_the_same_in_every_file() -> None:
    for name, document in DOCUMENTS:
        body = document.get("spec", {})
        cluster = body.get("rayClusterSpec") or body.get("rayClusterConfig") or body
        for group in cluster.get("workerGroupSpecs", []) if document["kind"] in RAY_KINDS else []:
            said = SPEC.groups[group["groupName"]]
            assert group["labels"]["group"] == group["groupName"], name
            assert group["maxReplicas"] == said.max
            limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
            assert limits["cpu"] == str(said.cpus)
            assert limits.get("nvidia.com/gpu", "0") == str(said.gpus)


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [Requirement(line) for lines in project["optional-dependencies"].values() for line in lines]
    (wanted,) = {str(one.specifier) for one in asked if one.name == "ray"}
    assert SPEC.ray in SpecifierSet(wanted)
    assert ray.__version__.split(".")[:2] == SPEC.ray.split(".")[:2], "the cluster's Ray must be the client's"
    assert SPEC.python in SpecifierSet(project["requires-python"])
    dockerfile = (CLUSTER / "Dockerfile").read_text()
    assert re.findall(r"^ARG (\w+)=(\S+)", dockerfile, re.M) == [("PYTHON", SPEC.python), ("RAY", SPEC.ray)]
    for _, document in DOCUMENTS:
        for template in pod_templates(document) if document["kind"] in RAY_KINDS else []:
            for container in template["spec"]["containers"]:
                assert re.fullmatch(rf"{SPEC.image.repository}:{__version__}(-cuda)?", container["image"])


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_ray_up_accepts_its_file(cloud: str) -> None:
    config = yaml.safe_load((CLUSTER / "ray-up" / f"{cloud}.yaml").read_text())
    validate_config(prepare_config(config))
    assert set(config["available_node_types"]) == {"head", *SPEC.groups}


@pytest.mark.parametrize("path", sorted((CLUSTER / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_profiles_are_valid_and_name_groups_that_exist(path: Path) -> None:
    profile = load_profile(path)
    assert profile.name == path.stem
    for stage in ("corpus", "pack", "train", "mine", "prune", "distill", "evaluate", "serve"):
        placement = getattr(profile, stage)
        group = placement.labels.get("group")
        if group is not None:
            node = SPEC.groups[group]
            cpus = node.twin.cpus if path.stem == "twin" else node.cpus
            assert placement.cpus <= cpus, f"{stage} fits no node of {group}"
            assert placement.gpus <= node.gpus


def test_a_changed_spec_makes_files_stale_until_they_are_rendered(tmp_path: Path) -> None:
    shutil.copytree(CLUSTER, tmp_path / "cluster")
    folder = tmp_path / "cluster"
    text = (folder / "spec.yaml").read_text()
    (folder / "spec.yaml").write_text(text.replace("idle_seconds: 120", "idle_seconds: 90"))
    (folder / "kuberay" / "old.yaml").write_text("{}")
    assert {"kuberay/old.yaml", "kuberay/raycluster.yaml", "ray-up/aws.yaml"} <= set(stale(folder))
    write(folder)
    assert stale(folder) == []
    assert not (folder / "kuberay" / "old.yaml").exists()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"head": {"cpu": 4}}, r"head.cpu: unknown key; did you mean 'cpus'\?"),
        ({"service": {"group": "srv"}}, r"service.group: 'srv' is not one of cpu, train, embed, serve"),
        ({"jobs": {"retries": -1}}, r"jobs.retries: got -1"),
    ],
)
def test_a_wrong_spec_is_refused_in_one_line(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RecipeError, match=complaint) as raised:
        changed(**change)
    assert "\n" not in str(raised.value)


def test_rendering_is_a_function_of_the_spec() -> None:
    assert render(SPEC) == render(SPEC)
