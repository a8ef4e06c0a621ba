"""Sections of a cluster spec that say what machines there are: image, head, groups."""

from typing import Self

from pydantic import Field, model_validator

from polyglossa.recipe.strict import Strict


class Image(Strict):
    """The container image; its tag is the package's version, and `-cuda` is added on GPU groups."""

    repository: str
    """Registry and name, without a tag."""
    pull_secret: str | None = None
    """Kubernetes secret to pull with; None where the registry is open to the cluster."""
    prepull: bool = False
    """Keep the image on every machine of the groups with a DaemonSet each, so that a new node starts at once."""


class Machines(Strict):
    """What a node is on clouds where `ray up` starts virtual machines."""

    aws: str
    """EC2 instance type."""
    gcp: str
    """Compute Engine machine type."""
    gcp_accelerator: str | None = None
    """Accelerator type on Compute Engine, where the machine type does not bring its own."""


class Twin(Strict):
    """Size of a group's nodes in the local twin, where they share one machine and have no GPU."""

    cpus: int = Field(1, ge=1)
    """CPUs that a node claims."""
    max: int = Field(2, ge=0)
    """Most nodes; the group's own limit holds too."""


class Node(Strict):
    """Resources of one node."""

    cpus: int = Field(ge=1)
    memory_gib: int = Field(ge=2)
    gpus: int = Field(0, ge=0)
    disk_gib: int = Field(100, ge=20)
    """Local disk for spilling, logs and model copies (GiB)."""
    machines: Machines


class Group(Node):
    """A group of like nodes that grows and shrinks with demand."""

    min: int = Field(0, ge=0)
    """Nodes that stay even when idle."""
    max: int = Field(ge=1)
    """Most nodes."""
    fixed: int | None = Field(None, ge=0)
    """Nodes in a cluster that does not scale (`jobs.autoscale: false`); 0 leaves the group out."""
    spot: bool = False
    """Whether nodes may be taken away at any time, for a lower price."""
    idle_seconds: int | None = Field(None, ge=1)
    """How long an idle node stays; None takes the cluster's."""
    accelerator: str | None = None
    """Value of the Kubernetes node label `nvidia.com/gpu.product`; None takes any GPU."""
    node_labels: dict[str, str] = {}
    """Further Kubernetes labels of the machines to run on (`cloud.google.com/gke-accelerator: nvidia-l4`,
    `karpenter.sh/capacity-type: spot`)."""
    devices: dict[str, int] = {}
    """Further devices of a node by Kubernetes resource (`vpc.amazonaws.com/efa: 32`, `rdma/hca: 8`); the container may
    then lock memory, which the transfers need. With EFA, NCCL is told to send over it, and huge pages are asked for."""
    environment: dict[str, str] = {}
    """Further environment variables of the group's pods, such as NCCL's of another fabric."""
    topology: str | None = None
    """Kubernetes node label whose value all nodes of the group share in one cluster, as one zone or block
    (`topology.kubernetes.io/zone`); None lets them lie anywhere."""
    priority: int = Field(0, ge=0)
    """Which groups Ray's autoscaler prefers where several fit; higher first."""
    twin: Twin = Twin()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min = {self.min} is above max = {self.max}")
        if self.fixed is not None and self.fixed > self.max:
            raise ValueError(f"fixed = {self.fixed} is above max = {self.max}")
        return self


class Clouds(Strict):
    """Where `ray up` starts virtual machines."""

    aws_region: str = "eu-central-1"
    gcp_region: str = "europe-west4"
    gcp_zone: str = "europe-west4-a"
    gcp_project: str = "my-project"
    """Project id; `ray up` fails with a clear message until it is yours."""
