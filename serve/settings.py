"""Arguments of the application, as strict models: what `serve/config/*.yaml` holds under `args`.

Everything has a default but the members. Sizes say their unit in their name or docstring.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from polyglossa.recipe.strict import Strict


class Replicas(Strict):
    """How many replicas a deployment has; Ray Serve scales between the two by ongoing work."""

    min: int = Field(1, ge=0)
    """Fewest replicas; 0 lets an idle member go away and come back with the next request."""
    max: int = Field(1, ge=1)
    """Most replicas."""
    upscale_delay_seconds: float = Field(5.0, ge=0)
    downscale_delay_seconds: float = Field(120.0, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min = {self.min} is above max = {self.max}")
        return self


class MemberSettings(Strict):
    """One served model."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._/-]*$")
    """Name in requests (`model`)."""
    path: str
    """Model directory, on a disk that every node of the member's replicas sees."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute precision."""
    max_tokens: int | None = Field(None, ge=2)
    """Longest text (tokens, EOS included); None takes the model's own limit."""
    chunk_tokens: int = Field(2048, ge=16)
    """Token budget of one forward pass."""
    batch_tokens: int = Field(8192, ge=16)
    """Token budget of one call to a replica."""
    threads: int = Field(1, ge=1)
    """Torch threads of a replica."""
    cpus: float = Field(1.0, ge=0)
    """CPUs that Ray reserves for a replica."""
    gpus: float = Field(0.0, ge=0)
    """GPUs that Ray reserves for a replica; above 0 the model runs there."""
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
    """Longest time that a request waits for its vectors (seconds)."""
    queue_items: int = Field(8192, ge=1)
    """Texts that wait per member and ingress replica; beyond it 429."""


class AppSettings(Strict):
    """The arguments of `serve.app:build`."""

    members: tuple[MemberSettings, ...] = Field(min_length=1)
    aliases: dict[str, str] = {}
    """Extra model names → member; the first member also answers where a request names none."""
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _names_hold(self) -> Self:
        names = [member.name for member in self.members]
        if len(set(names)) != len(names):
            raise ValueError(f"members: names must differ, got {', '.join(names)}")
        for alias, name in self.aliases.items():
            if name not in names:
                raise ValueError(f"aliases.{alias}: {name!r} is not one of {', '.join(names)}")
        return self
