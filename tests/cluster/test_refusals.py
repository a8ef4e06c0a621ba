"""A spec that cannot be rendered is refused before anything is written, in one line with the line of the spec."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cluster.specs import ASKED, CLUSTER, FIXED, SPEC, changed, merge
from polyglossa.cluster.kuberay import manifests
from polyglossa.cluster.render import write
from polyglossa.cluster.spec import load_spec
from polyglossa.cluster.spec.lines import line_of
from polyglossa.cluster.spec.operators import FEATURES, Operators
from polyglossa.errors import RecipeError

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "kueue that is not installed": ({"jobs": {"queue": "team"}}, r"jobs.queue: RayJob in a queue: needs Kueue 0.13"),
    "kueue and autoscaling without the gate": (
        {"operators": {"kueue": "0.17"}, "jobs": {"queue": "team"}},
        r"jobs.queue: .*ElasticJobsViaWorkloadSlices.*on by default from 0.18.*or set jobs.autoscale: false",
    ),
    "kueue too old for elastic jobs": (
        {"operators": {"kueue": "0.15", "gates": ["ElasticJobsViaWorkloadSlices"]}, "jobs": {"queue": "team"}},
        r"jobs.queue: .*needs Kueue 0.16, got operators.kueue = 0.15",
    ),
    "fixed without sizes": ({"jobs": {"autoscale": False}}, r"groups.cpu.fixed: is missing"),
    "idle time of nodes that stay": (
        {"jobs": {"autoscale": False}, "groups": FIXED | {"train": {"fixed": 1}}},
        r"groups.train.idle_seconds: means nothing",
    ),
    "more fixed nodes than the group has": ({"groups": {"cpu": {"fixed": 99}}}, r"groups.cpu: fixed = 99 is above max"),
    "a gang that scales": (
        {"jobs": {"queue": "team", "scheduler": "volcano"}},
        r"jobs.autoscale: volcano starts a cluster's fewest nodes as one gang",
    ),
    "a scheduler without a queue": ({"jobs": {"scheduler": "kai"}}, r"jobs.scheduler: kai .* give jobs.queue"),
    "tolerance without an address": (
        {"fault_tolerance": {"backend": "redis"}},
        r"fault_tolerance.address: is missing",
    ),
    "an address that is none": (
        {"fault_tolerance": {"backend": "redis", "address": "redis"}},
        r'fault_tolerance.address: got "redis"',
    ),
    "an address for rocksdb": (
        {"fault_tolerance": {"backend": "rocksdb", "address": "a:1"}},
        r"fault_tolerance.address: belongs to backend: redis",
    ),
    "rocksdb without its gate": (
        {"fault_tolerance": {"backend": "rocksdb"}},
        r"fault_tolerance.backend: .*GCSFaultToleranceEmbeddedStorage",
    ),
    "rocksdb before it was there": (
        {"operators": {"kuberay": "1.6"}, "fault_tolerance": {"backend": "rocksdb"}},
        r"fault_tolerance.backend: .*needs KubeRay 1.7",
    ),
    "jobs that outlive a head with their driver on it": (
        {"fault_tolerance": {"backend": "redis", "address": "a:1", "jobs": True}},
        r"fault_tolerance.driver_group: None is not one of",
    ),
    "drivers on spot nodes": (
        {"fault_tolerance": {"backend": "redis", "address": "a:1", "jobs": True, "driver_group": "cpu"}},
        r"fault_tolerance.driver_group: its nodes are spot",
    ),
    "no keys": ({"service": {"keys": None}}, r"service.keys: is missing: the endpoint listens on 0.0.0.0"),
    "keys without a secret": ({"service": {"keys": {"file": "k.json", "secret": ""}}}, r"service.keys.secret: got"),
    "keys and open": ({"service": {"open": True}}, r"service.open: is true while service.keys"),
    "an alias to nobody": ({"service": {"aliases": {"best": "large"}}}, r"service.aliases.best: 'large' is not one of"),
    "an alias over a member": (
        {"service": {"aliases": {"small": "base"}}},
        r"service.aliases.small: is a member's own",
    ),
    "a member twice": (
        {"service": {"members": [{"name": "a", "path": "/data/a"}, {"name": "a", "path": "/data/b"}], "aliases": {}}},
        r"service.members.1.name: 'a' is there twice|service.aliases",
    ),
    "a model that no node finds": (
        {"service": {"members": [{"name": "small", "path": "/models/small"}]}},
        r"service.members.0.path: /models/small is not on the volume",
    ),
    "incremental without a gateway": (
        {"service": {"upgrade": {"kind": "incremental"}}},
        r"service.upgrade.gateway_class: is missing",
    ),
    "incremental before it was on": (
        {"operators": {"kuberay": "1.6"}, "service": {"upgrade": {"kind": "incremental", "gateway_class": "istio"}}},
        r"service.upgrade.kind: .*RayServiceIncrementalUpgrade, off by default in 1.6",
    ),
    "steps beyond the surge": (
        {"service": {"upgrade": {"step_percent": 30, "surge_percent": 20}}},
        r"service.upgrade: step_percent = 30 is above surge_percent = 20",
    ),
    "TLS before a gateway of KubeRay's": (
        merge(ASKED["incremental"], ASKED["gateway"]),
        r"service.tls: KubeRay makes the Gateway of an incremental upgrade itself",
    ),
    "TLS that nobody gets through": (
        merge(ASKED["ingress"], {"network": {"clients": []}}),
        r"network.clients: is empty",
    ),
    "deletion rules with Kueue": (
        merge(ASKED["kueue-fixed"], {"jobs": {"keep_failed_seconds": 60}}),
        r"jobs.keep_failed_seconds: Kueue admits only jobs that give their cluster back",
    ),
    "deletion rules without their gate": (
        merge(ASKED["deletion"], {"operators": {"kuberay": "1.5"}}),
        r"jobs.keep_failed_seconds: .*RayJobDeletionPolicy",
    ),
    "suspended with deletion rules": (
        merge(ASKED["deletion"], {"jobs": {"suspended": True}}),
        r"jobs.suspended: KubeRay suspends no job that has deletion rules",
    ),
    "forgotten before its cluster goes": (
        merge(ASKED["deletion"], {"jobs": {"forget_seconds": 60}}),
        r"jobs.forget_seconds: 60 is before the cluster goes \(86400 s\)",
    ),
    "a schedule without the gate": (
        merge(ASKED["cron"], {"operators": {"gates": []}}),
        r"jobs.schedules.0: .*feature gate RayCronJob",
    ),
    "a schedule of no stage": (
        merge(ASKED["cron"], {"jobs": {"schedules": [{"job": "mining", "cron": "0 3 * * 0"}]}}),
        r"jobs.schedules.0.job: 'mining' is not one of",
    ),
    "a time zone that is too new": (
        merge(ASKED["cron"], {"operators": {"kuberay": "1.6"}}),
        r"jobs.schedules.0.time_zone: .*needs KubeRay 1.7",
    ),
    "a schedule that is none": (
        merge(ASKED["cron"], {"jobs": {"schedules": [{"job": "mine", "cron": "daily"}]}}),
        r'jobs.schedules.0.cron: got "daily"',
    ),
    "a history without a region": (
        merge(ASKED["history"], {"history": {"region": None}}),
        r"history.region: is missing",
    ),
    "a priority that is not there": ({"jobs": {"priority": "high"}}, r"jobs.priority: 'high' is not one of priorities"),
    "a gate of nobody": ({"operators": {"gates": ["Elastic"]}}, r"operators.gates.0: 'Elastic' is no gate"),
    "a name that is too long": ({"name": "a" * 45}, r"name: 'a+' is too long: KubeRay takes 47 characters"),
    "a group called head": (
        {"groups": {"head": SPEC.groups["cpu"].model_dump(mode="json")}},
        r"groups.head: the name is taken",
    ),
    "a queue for a service that cannot wait": (
        merge(ASKED["kueue-elastic-by-default"], {"operators": {"kuberay": "1.6"}}),
        r"service.queue: RayService that waits for admission: needs KubeRay 1.7",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_spec_that_cannot_be_rendered_is_refused_in_one_line(name: str) -> None:
    change, complaint = REFUSED[name]
    with pytest.raises(RecipeError, match=complaint) as refused:
        changed(**change)
    assert "\n" not in str(refused.value)


def test_too_many_groups_for_kueue_are_counted() -> None:
    group = {**SPEC.groups["cpu"].model_dump(mode="json"), "fixed": 1}
    many = {f"g{number}": group for number in range(4)}
    change = merge(ASKED["kueue-fixed"], {"groups": many})
    with pytest.raises(RecipeError, match=r"groups: Kueue 0\.16 admits 7 groups in a cluster, got 8"):
        changed(**change)
    assert manifests(changed(**merge(change, {"operators": {"kueue": "0.18"}})), "1.0")


def test_the_message_names_the_line_of_the_spec_and_nothing_is_written(tmp_path: Path) -> None:
    text = (CLUSTER / "spec.yaml").read_text()
    line = next(number for number, one in enumerate(text.splitlines(), 1) if "aliases:" in one)
    (tmp_path / "spec.yaml").write_text(text.replace("polyglossa/best: base", "polyglossa/best: large"))
    with pytest.raises(RecipeError, match=rf"spec.yaml:{line}: service.aliases.polyglossa/best: 'large' is not one of"):
        write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["spec.yaml"]


@pytest.mark.parametrize(
    ("old", "new", "at"),
    [
        ("cpus: 16", "cpu: 16", "cpu: 16"),  # an unknown key
        (
            "max: 32\n    spot: true\n    machines: {aws: m7i",
            "max: 0\n    spot: true\n    machines: {aws: m7i",
            "max: 0",
        ),
        ("keys: {secret", "keyz: {secret", "keyz:"),
        ("{kuberay:", "{kueue: 0.16, kuberay:", "operators:"),  # a number where a version in quotes is meant
        ("ray: 2.60.0", "", "# The one description"),  # a missing key has no line but the file's
    ],
)
def test_whatever_is_wrong_is_found_by_its_line(tmp_path: Path, old: str, new: str, at: str) -> None:
    text = (CLUSTER / "spec.yaml").read_text()
    assert old in text
    (tmp_path / "spec.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(RecipeError) as refused:
        load_spec(tmp_path / "spec.yaml")
    found = re.search(r"spec\.yaml:(\d+): ", str(refused.value))
    assert found, str(refused.value)
    assert at in (tmp_path / "spec.yaml").read_text().splitlines()[int(found[1]) - 1]


def test_lines_of_keys_with_dots_and_of_list_items() -> None:
    text = "groups:\n  train:\n    devices:\n      vpc.amazonaws.com/efa: 32\nmembers:\n  - name: a\n  - name: b\n"
    assert line_of(text, ["groups", "train", "devices", "vpc", "amazonaws", "com/efa"]) == 4
    assert line_of(text, ["members", "1", "name"]) == 7
    assert line_of(text, ["groups", "train", "fixed"]) == 2
    assert line_of(text, ["absent"]) == 1


def test_every_feature_is_refused_where_it_does_not_exist_and_let_through_where_it_does() -> None:
    for name, feature in FEATURES.items():
        since = {"kuberay": {"kuberay": feature.since}, "kueue": {"kueue": feature.since}}[feature.operator]
        gates = [feature.gate] if feature.gate else []
        there = Operators.model_validate_json(json.dumps({**since, "gates": gates}))
        assert feature.lacking(there, "2.60.0") is None, name
        if feature.ray:
            assert "needs Ray" in (feature.lacking(there, "2.40.0") or ""), name
        if feature.gate and feature.on_since:
            on = Operators.model_validate_json(json.dumps({feature.operator: feature.on_since}))
            assert feature.lacking(on, "2.60.0") is None, name
