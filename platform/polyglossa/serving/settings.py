"""Arguments of the application, as strict models: what `serve/config/*.yaml` holds under `args`.

Everything has a default but the members. Sizes say their unit in their name or docstring.
"""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from polyglossa.engines.spec import EngineSpec, UpstreamSpec
from polyglossa.recipe.load import validate
from polyglossa.recipe.sections.serve import Engine, ServedDtype
from polyglossa.recipe.strict import Strict


class Replicas(Strict):
    """How many replicas a deployment has; Ray Serve scales between the two by ongoing work."""

    min: int = Field(1, ge=0)
    """Fewest replicas; 0 lets an idle member go away and come back with the next request."""
    max: int = Field(1, ge=1)
    """Most replicas."""
    upscale_delay_seconds: float = Field(5.0, ge=0)
    """How long the load must last before replicas are added (seconds)."""
    downscale_delay_seconds: float = Field(120.0, ge=0)
    """How long the load must be gone before replicas are taken away (seconds)."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min = {self.min} is above max = {self.max}")
        return self


class Upstream(Strict):
    """Another server that computes a member: it must read token ids by the member's own tokenizer."""

    url: str
    """Base URL of an OpenAI-compatible endpoint, `/v1` included."""
    model: str
    """Name that it knows the model by."""
    key_variable: str | None = None
    """Environment variable with the key that it wants; keys of our clients never go there."""
    timeout_seconds: float = Field(30.0, gt=0)
    """Longest time that it may take to answer (seconds)."""


class MemberSettings(Strict):
    """One served model."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._/-]*$")
    """Name in requests (`model`)."""
    path: str
    """Model directory: on a disk that every node of the application sees, or in a bucket, fetched once a node."""
    dtype: ServedDtype | None = None
    """Compute precision: at least this one (bfloat16 is computed where the device gains by it). None takes bfloat16 on
    GPUs and float32 on processors; `int8` keeps the weights of linear layers so and computes in float32."""
    max_tokens: int | None = Field(None, ge=2)
    """Longest text (tokens, EOS included); None takes the model's own limit."""
    chunk_tokens: int | None = Field(None, ge=16)
    """Token budget of one forward pass; None is 512 on CPUs, 1,024 there in bfloat16, 16,384 on a GPU."""
    batch_tokens: int = Field(8192, ge=16)
    """Token budget of one call to a replica."""
    threads: int = Field(1, ge=1)
    """Forward passes that a replica runs side by side on CPUs, each on one core."""
    cpus: float = Field(1.0, ge=0)
    """CPUs that Ray reserves for a replica."""
    gpus: float = Field(0.0, ge=0)
    """GPUs that Ray reserves for a replica; above 0 the model runs there."""
    labels: dict[str, str] = {}
    """Ray label selector of the nodes that replicas run on."""
    replicas: Replicas = Replicas()
    engine: Engine = "torch"
    """What computes: this package's forward pass, an export to ONNX or OpenVINO (made and kept on the node when a
    replica starts), vLLM on GPUs, or another server. `auto` measures those of the first three that are installed, and
    takes the fastest whose least cosine to the encoder on a panel is 0.999 or more."""
    colocate: bool = False
    """Whether the member runs in the ingress's process: no hop between the two, for small members on processors."""
    upstream: Upstream | None = None
    """Of `engine: endpoint`: the server."""

    @model_validator(mode="after")
    def _engine_fits(self) -> Self:
        if (self.engine == "endpoint") != (self.upstream is not None):
            raise ValueError("engine: endpoint needs upstream (url, model), and no other engine has one")
        if self.engine == "vllm" and not self.gpus:
            raise ValueError("engine: vllm runs on GPUs; give gpus ≥ 1, or take torch, onnx or openvino")
        if self.engine in ("onnx", "openvino") and self.gpus:
            raise ValueError(f"engine: {self.engine} runs on processors here; leave gpus at 0")
        if self.engine in ("onnx", "openvino") and self.dtype == "bfloat16":
            raise ValueError(f"engine: {self.engine} computes in float32 or int8, not in bfloat16")
        if self.colocate and (self.gpus or self.replicas != Replicas()):
            raise ValueError("colocate: for members on processors, without replicas of their own; scale `ingress`")
        return self

    @property
    def engine_spec(self) -> EngineSpec:
        """What the engine is told."""
        upstream = UpstreamSpec(**self.upstream.model_dump()) if self.upstream else None
        return EngineSpec(self.engine, self.dtype, self.max_tokens, self.gpus, self.threads, upstream)

    @property
    def forward_tokens(self) -> int:
        """The token budget of one forward pass.

        Measured on one core with 2,048 mixed texts (7 M parameters): float32 666 texts/s at 512 tokens against 402 at
        2,048; bfloat16 1,386 at 1,024 against 1,253. Smaller chunks stay in the core's cache.
        """
        if self.chunk_tokens is not None:
            return self.chunk_tokens
        return 16_384 if self.gpus else 1024 if self.dtype == "bfloat16" else 512


class RerankerSettings(Strict):
    """One cross-encoder, for `/v1/rerank` and `/rerank`."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._/-]*$")
    """Name in requests (`model`)."""
    path: str
    """Directory of a sequence classifier with one output."""
    max_tokens: int | None = Field(None, ge=8)
    """Longest pair (tokens); None takes the model's own limit."""
    threads: int = Field(1, ge=1)
    """Requests that a replica scores side by side on CPUs, each on one core."""
    cpus: float = Field(1.0, ge=0)
    """CPUs that Ray reserves for a replica."""
    gpus: float = Field(0.0, ge=0)
    """GPUs that Ray reserves for a replica."""
    labels: dict[str, str] = {}
    """Ray label selector of the nodes that replicas run on."""
    replicas: Replicas = Replicas()


class Limits(Strict):
    """What one request and one queue may hold; beyond it the answer is 413 or 429."""

    request_bytes: int = Field(8 * 1024 * 1024, ge=1024)
    """Largest request body (bytes)."""
    request_items: int = Field(2048, ge=1)
    """Most texts in one request."""
    request_tokens: int = Field(1_000_000, ge=16)
    """Most tokens of one request, after truncation."""
    request_seconds: float = Field(60.0, gt=0)
    """Longest time that a request waits for its vectors (seconds); then 503."""
    queue_items: int = Field(8192, ge=1)
    """Distinct texts under way per member and ingress replica; beyond it 429."""


class AppSettings(Strict):
    """The arguments of `application.build`."""

    members: tuple[MemberSettings, ...] = Field(min_length=1)
    """Served models; the first answers requests that cannot name one (`/embed`)."""
    rerankers: tuple[RerankerSettings, ...] = ()
    """Cross-encoders of the family; the first answers requests that name none."""
    aliases: dict[str, str] = {}
    """Extra model names → member."""
    compatible: tuple[tuple[str, str], ...] = ()
    """Pairs of members whose vectors may be compared with each other, as the report found; told in `/v1/models`."""
    documents: str | None = None
    """Folder of documents that `/v1/search` searches (see `polyglossa.serving.documents`); None has none."""
    keys_file: str | None = None
    """JSON file of API keys (see `polyglossa.serving.http.auth`); None asks for no key."""
    limits: Limits = Limits()
    cache_mib: int = Field(0, ge=0)
    """Memory for states of texts seen before, per member and ingress replica (MiB); 0 keeps none."""
    cors_origins: tuple[str, ...] = ()
    """Web origins that may call from a browser; none unless set."""
    access_log: bool = True
    """One JSON line a request on the replica's standard output: never a text, never a key."""
    ingress: Replicas = Replicas()

    @model_validator(mode="after")
    def _names_hold(self) -> Self:
        names = [member.name for member in self.members]
        both = [*names, *(reranker.name for reranker in self.rerankers)]
        if len(set(both)) != len(both):
            raise ValueError(f"members: names must differ, got {', '.join(both)}")
        for where, name in [
            *((f"aliases.{alias}", name) for alias, name in self.aliases.items()),
            *(("compatible", name) for pair in self.compatible for name in pair),
        ]:
            if name not in names:
                raise ValueError(f"{where}: {name!r} is not one of {', '.join(names)}")
        if self.ingress.min < 1:
            raise ValueError("ingress.min: 0 would leave nobody to answer; give at least 1")
        return self


def read_settings(args: Mapping[str, Any]) -> AppSettings:
    """Check the application's arguments.

    Raises:
        polyglossa.errors.RecipeError: one line that names the argument and what is allowed.
    """
    return validate(AppSettings, dict(args), "serve")
