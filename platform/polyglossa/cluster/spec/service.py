"""Section `service` of a cluster spec: the endpoint, who may call it, and how it changes."""

from typing import Literal, Self

from pydantic import Field, model_validator

from polyglossa.recipe.strict import Strict

KEYS_FOLDER = "/etc/polyglossa"
"""Where the secret of keys is mounted. A folder, for a mounted file would not change with the secret."""


class ServedMember(Strict):
    """A model that the endpoint serves; what is None is the service's."""

    name: str
    path: str
    """Model directory: on the mounted volume, or in a bucket."""
    dtype: Literal["float32", "bfloat16", "int8"] | None = None
    cpus: float | None = Field(None, ge=0)
    gpus: float | None = Field(None, ge=0)
    threads: int = Field(1, ge=1)
    """Forward passes that a replica runs side by side on CPUs."""
    min: int = Field(1, ge=0)
    max: int = Field(4, ge=1)
    downscale_delay_seconds: float = Field(120.0, ge=0)


class Keys(Strict):
    """API keys: a Kubernetes secret that holds the file which `python -m polyglossa.serving.http.auth` makes."""

    secret: str = Field(min_length=1)
    """Name of the secret."""
    file: str = Field("keys.json", pattern=r"^[A-Za-z0-9._-]+$")
    """Its key, whose value is the JSON list."""

    @property
    def path(self) -> str:
        """Where pods read it."""
        return f"{KEYS_FOLDER}/{self.file}"


class Tls(Strict):
    """TLS termination before the endpoint, rendered as an Ingress or as a Gateway with its route."""

    kind: Literal["ingress", "gateway"]
    host: str = Field(min_length=1)
    """Name that clients call."""
    secret: str = Field(min_length=1)
    """Kubernetes secret of type `kubernetes.io/tls`."""
    class_name: str = Field(min_length=1)
    """IngressClass, or GatewayClass."""


class Upgrade(Strict):
    """How a changed cluster takes the place of the old one."""

    kind: Literal["new_cluster", "incremental", "none"] = "new_cluster"
    """`new_cluster` starts a whole second one (200 % of the GPUs) and moves traffic when it is healthy; `incremental`
    moves it in steps through the Gateway API and needs `surge_percent` more; `none` changes nothing that runs."""
    gateway_class: str | None = None
    """GatewayClass of the controller that splits traffic; incremental upgrades need one."""
    surge_percent: int = Field(20, ge=1, le=100)
    """Capacity beyond 100 % that both clusters may have together."""
    step_percent: int = Field(10, ge=1, le=100)
    """Traffic that moves at a time."""
    interval_seconds: int = Field(30, ge=1)
    """Time between steps."""

    @model_validator(mode="after")
    def _steps_fit(self) -> Self:
        if self.step_percent > self.surge_percent:
            raise ValueError(f"step_percent = {self.step_percent} is above surge_percent = {self.surge_percent}")
        return self


class ServiceLimits(Strict):
    """What one request and one queue may hold, as `serving.settings.Limits` documents; None takes the default."""

    request_bytes: int | None = Field(None, ge=1024)
    request_items: int | None = Field(None, ge=1)
    request_tokens: int | None = Field(None, ge=16)
    request_seconds: float = Field(80.0, gt=0)
    queue_items: int = Field(16384, ge=1)


class Ingresses(Strict):
    """Replicas that parse, tokenise and batch."""

    min: int = Field(2, ge=1)
    max: int = Field(8, ge=1)


class Service(Strict):
    """The endpoint as a RayService, and as `serve/config/production.yaml` for other clusters."""

    group: str = "serve"
    """Group that it runs on."""
    members: tuple[ServedMember, ...] = Field(min_length=1)
    aliases: dict[str, str] = {}
    """Extra model names → member."""
    keys: Keys | None = None
    """Who may call; None only with `open`."""
    open: bool = False
    """Whether everybody who reaches the port may call, without a key."""
    tls: Tls | None = None
    """TLS termination; None leaves it to you: the endpoint itself speaks HTTP."""
    cpus_per_replica: float = Field(1.0, ge=0)
    gpus_per_replica: float = Field(0.0, ge=0)
    dtype: Literal["float32", "bfloat16", "int8"] = "bfloat16"
    ingress: Ingresses = Ingresses()
    limits: ServiceLimits = ServiceLimits()
    cache_mib: int = Field(256, ge=0)
    """Memory for states of texts seen before, per member and ingress replica (MiB)."""
    upgrade: Upgrade = Upgrade()
    queue: str | None = None
    """Kueue queue that lets the endpoint in; None asks nobody."""
    priority: str | None = None
    """Priority class of its pods, one of `priorities`."""
    keep_old_seconds: int = Field(120, ge=0)
    """How long the old cluster stays after an upgrade, to finish its requests."""
    config_file: str | None = None
    """Where the same configuration is written for clusters without KubeRay, from the spec's folder; None: nowhere."""
