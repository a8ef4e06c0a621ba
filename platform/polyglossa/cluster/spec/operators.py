"""Section `operators` of a cluster spec, and what each version of them can do.

A combination that does not exist is refused when rendering: an older operator would drop the field in silence, or its
webhook would refuse the object when somebody needs it. Versions are read from the sources (tags of KubeRay and Kueue);
`tests/cluster/test_admission.py` names file and line.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from polyglossa.recipe.strict import Strict


class Operators(Strict):
    """What is installed in the Kubernetes cluster."""

    kuberay: Literal["1.5", "1.6", "1.7"] = "1.7"
    """Version of the KubeRay operator; of 1.5, the first with token authentication is 1.5.1."""
    kueue: str | None = Field(None, pattern=r"^0\.\d+$")
    """Version of Kueue; None where it is not installed."""
    gates: tuple[str, ...] = ()
    """Feature gates that are switched on in KubeRay or Kueue and are off by default in these versions."""


@dataclass(frozen=True)
class Feature:
    """Something that a spec may ask for, and where it exists."""

    what: str
    operator: Literal["kuberay", "kueue"]
    since: str
    """First version that has it."""
    gate: str | None = None
    """Its feature gate; None where it has none."""
    on_since: str | None = None
    """First version in which the gate is on by default; None where it is off in all."""
    ray: str | None = None
    """First version of Ray that has its part."""

    def lacking(self, operators: Operators, ray: str) -> str | None:
        """Say what is missing for it, and what to do; None where nothing is."""
        name = "KubeRay" if self.operator == "kuberay" else "Kueue"
        installed = getattr(operators, self.operator)
        if installed is None:
            return f"{self.what}: needs Kueue {self.since} or newer; give its version as operators.kueue"
        if version_of(installed) < version_of(self.since):
            return f"{self.what}: needs {name} {self.since}, got operators.{self.operator} = {installed}"
        if self.ray is not None and version_of(ray) < version_of(self.ray):
            return f"{self.what}: needs Ray {self.ray}, got ray = {ray}"
        on = self.on_since is not None and version_of(installed) >= version_of(self.on_since)
        if self.gate is not None and not on and self.gate not in operators.gates:
            since = f" (on by default from {self.on_since})" if self.on_since else ""
            return (
                f"{self.what}: needs {name}'s feature gate {self.gate}, off by default in {installed}{since}; "
                "switch it on in the operator and name it in operators.gates"
            )
        return None


FEATURES: Mapping[str, Feature] = {
    "incremental_upgrade": Feature(
        "incremental upgrades", "kuberay", "1.5", "RayServiceIncrementalUpgrade", "1.7", ray="2.51"
    ),
    "deletion_rules": Feature("deletion rules", "kuberay", "1.5", "RayJobDeletionPolicy", "1.6"),
    "cron_job": Feature("RayCronJob", "kuberay", "1.6", "RayCronJob"),
    "cron_time_zone": Feature("time zone of a RayCronJob", "kuberay", "1.7"),
    "rocksdb": Feature(
        "RocksDB for the control store", "kuberay", "1.7", "GCSFaultToleranceEmbeddedStorage", ray="2.60"
    ),
    "history_server": Feature("history server", "kuberay", "1.7", "RayClusterHistoryServer", ray="2.52"),
    "group_priority": Feature("priority of a group", "kuberay", "1.7", ray="2.56"),
    "suspended_service": Feature("RayService that waits for admission", "kuberay", "1.7"),
    "queued_service": Feature("RayService in a queue", "kueue", "0.17"),
    "queued_job": Feature("RayJob in a queue", "kueue", "0.13"),
    "elastic_job": Feature(
        "RayJob in a queue that scales (elastic job)", "kueue", "0.16", "ElasticJobsViaWorkloadSlices", "0.18"
    ),
    "topology_request": Feature("one topology domain by Kueue", "kueue", "0.13", "TopologyAwareScheduling", "0.14"),
}


def most_groups(kueue: str) -> int:
    """Return how many worker groups Kueue admits in one cluster; the head takes one of its pod sets."""
    return 7 if version_of(kueue) < (0, 18) else 9 if version_of(kueue) < (0, 19) else 17


def version_of(text: str) -> tuple[int, ...]:
    """Read a version for comparison."""
    return tuple(int(part) for part in text.split("."))
