"""Sections of a cluster spec that all its parts share: storage, tokens, network, the head's memory, its history."""

from typing import Literal

from pydantic import Field

from polyglossa.recipe.strict import Strict


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

    def reaches(self, path: str) -> bool:
        """Whether a node finds a path: in a bucket, or on the mounted volume."""
        return "://" in path or (self.uri is None and path.startswith(f"{self.mount}/"))


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
    """Namespaces whose pods may call the endpoint: of the Ingress controller or Gateway, and of callers inside."""
    monitoring: str | None = "monitoring"
    """Namespace of Prometheus; None lets nobody scrape."""


class FaultTolerance(Strict):
    """Where the control store keeps its state, so that a lost head costs no cluster."""

    backend: Literal["none", "redis", "rocksdb"] = "none"
    """`none` keeps it in the head's memory; `redis` in a Redis of yours; `rocksdb` on a volume of the head."""
    address: str | None = Field(None, pattern=r"^(rediss?://)?[A-Za-z0-9.-]+:\d+$")
    """Address of Redis: `redis://redis.databases:6379`, or `rediss://…` over TLS."""
    secret: str | None = None
    """Kubernetes secret whose key `password` opens Redis; None where Redis asks for none."""
    volume_gib: int = Field(10, ge=1)
    """Size of the head's volume for `rocksdb`."""
    storage_class: str | None = None
    """Storage class of that volume; None takes the cluster's default."""
    jobs: bool = False
    """Whether jobs have it too; the endpoint always does. A job's driver then runs on `driver_group`: one that runs on
    the head ends with it."""
    driver_group: str | None = None
    """Group, not of spot nodes, on which drivers of such jobs run."""

    @property
    def port(self) -> int | None:
        """Port of Redis."""
        return int(self.address.rpartition(":")[2]) if self.address else None


class History(Strict):
    """The history server's part: a collector beside each pod keeps logs and events of clusters that are gone."""

    image: str
    """Image of KubeRay's collector."""
    backend: Literal["S3", "GCS"]
    bucket: str
    region: str | None = None
    """Region of an S3 bucket."""
