"""The one description of a cluster (`cluster/spec.yaml`) as strict models; all else about it derives from it.

It says what a cluster is made of, never what runs on it: recipes hold science, profiles place stages on its groups.
"""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from polyglossa.recipe.load import read_mapping, validate
from polyglossa.recipe.placement import GROUP_LABEL
from polyglossa.recipe.strict import Strict


class Image(Strict):
    """The container image; its tag is the package's version, and `-cuda` is added on GPU groups."""

    repository: str
    """Registry and name, without a tag."""
    pull_secret: str | None = None
    """Kubernetes secret to pull with; None where the registry is open to the cluster."""


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
    spot: bool = False
    """Whether nodes may be taken away at any time, for a lower price."""
    idle_seconds: int | None = Field(None, ge=1)
    """How long an idle node stays; None takes the cluster's."""
    accelerator: str | None = None
    """Value of the Kubernetes node label `nvidia.com/gpu.product`; None takes any GPU."""
    twin: Twin = Twin()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min = {self.min} is above max = {self.max}")
        return self


class Storage(Strict):
    """Where runs and models lie: a bucket by URI, or a volume that all nodes mount."""

    uri: str | None = None
    """`s3://…` or `gs://…`; None uses the claim."""
    secret: str | None = None
    """Kubernetes secret whose keys become environment variables (credentials of the bucket)."""
    claim: str = "polyglossa-data"
    """Persistent volume claim, mounted at `mount` on every node."""
    mount: str = "/data"
    claim_gib: int = Field(500, ge=1)
    storage_class: str | None = None
    """Storage class that allows ReadWriteMany; None takes the cluster's default."""

    @property
    def root(self) -> str:
        """Storage root of recipes that run here."""
        return self.uri or f"{self.mount}/runs"


class Authentication(Strict):
    """Token authentication: nobody reaches the cluster's API without it."""

    secret: str = "polyglossa-ray-token"
    """Kubernetes secret; its key `auth_token` holds the token."""
    token_file: str = "~/.ray/auth_token"
    """Where the token lies on virtual machines and on the machine that starts them."""


class Network(Strict):
    """Who may reach the pods; everything else is refused."""

    operator_namespace: str = "kuberay-system"
    """Namespace of the KubeRay operator, which talks to the head."""
    clients: tuple[str, ...] = ()
    """Namespaces whose pods may call the endpoint."""
    monitoring: str | None = "monitoring"
    """Namespace of Prometheus; None lets nobody scrape."""


class Jobs(Strict):
    """How stages run as RayJobs."""

    recipe: str = "jobs/recipes/quickstart.yaml"
    """Recipe inside the image."""
    profile: str = "cluster/profiles/multi-node.yaml"
    """Placement profile inside the image."""
    retries: int = Field(2, ge=0)
    """New clusters after a failed one; a run goes on where it stopped."""
    deadline_seconds: int = Field(7 * 24 * 3600, ge=60)
    """Longest life of a job, waiting included."""
    keep_seconds: int = Field(3600, ge=0)
    """How long a finished job's cluster stays, for its logs."""
    queue: str | None = None
    """Kueue queue; jobs then start suspended and Kueue lets them in."""


class ServedMember(Strict):
    """A model that the endpoint serves."""

    name: str
    path: str
    """Model directory on the mounted volume."""
    min: int = Field(1, ge=0)
    max: int = Field(4, ge=1)


class Service(Strict):
    """The endpoint as a RayService."""

    group: str = "serve"
    """Group that it runs on."""
    members: tuple[ServedMember, ...] = Field(min_length=1)
    cpus_per_replica: float = Field(1.0, ge=0)
    gpus_per_replica: float = Field(0.0, ge=0)
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    keep_old_seconds: int = Field(120, ge=0)
    """How long the old cluster stays after an upgrade, to finish its requests."""


class Clouds(Strict):
    """Where `ray up` starts virtual machines."""

    aws_region: str = "eu-central-1"
    gcp_region: str = "europe-west4"
    gcp_zone: str = "europe-west4-a"
    gcp_project: str = "my-project"
    """Project id; `ray up` fails with a clear message until it is yours."""


class ClusterSpec(Strict):
    """A cluster: head, groups, and what they share."""

    name: str = Field("polyglossa", pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
    namespace: str = "polyglossa"
    ray: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    """Ray version, the same in the image, the manifests and every client."""
    python: str = Field("3.12", pattern=r"^3\.\d+$")
    """Python of the image."""
    image: Image
    idle_seconds: int = Field(120, ge=1)
    """How long an idle node stays before it is given back."""
    head: Node
    """Runs the control plane and drivers, no tasks."""
    groups: dict[str, Group] = Field(min_length=1)
    """Groups by name; the name is the nodes' Ray label `group`."""
    storage: Storage = Storage()
    authentication: Authentication = Authentication()
    network: Network = Network()
    jobs: Jobs = Jobs()
    service: Service
    clouds: Clouds = Clouds()

    @model_validator(mode="after")
    def _the_endpoint_has_a_group(self) -> Self:
        if self.service.group not in self.groups:
            raise ValueError(f"service.group: {self.service.group!r} is not one of {', '.join(self.groups)}")
        return self

    def image_of(self, node: Node, version: str) -> str:
        """Image of a node, by whether it has GPUs."""
        return f"{self.image.repository}:{version}{'-cuda' if node.gpus else ''}"

    def labels_of(self, name: str) -> dict[str, str]:
        """Ray labels of a group's nodes."""
        market = "spot" if self.groups[name].spot else "on-demand"
        return {GROUP_LABEL: name, "ray.io/market-type": market}


def load_spec(path: str | Path) -> ClusterSpec:
    """Read a cluster spec.

    Raises:
        RecipeError: missing, not YAML or not valid; the message is one line.
    """
    return validate(ClusterSpec, read_mapping(path), str(path))
