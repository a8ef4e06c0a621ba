"""Which engine runs a model, as plain values."""

from dataclasses import dataclass

ENGINES = ("torch", "onnx", "openvino", "vllm", "auto")
"""Engines that need no other server."""


@dataclass(frozen=True)
class UpstreamSpec:
    """Another server that computes a model."""

    url: str
    model: str
    key_variable: str | None = None
    timeout_seconds: float = 30.0


@dataclass(frozen=True)
class EngineSpec:
    """An engine and what it may use."""

    engine: str = "torch"
    """`torch`, `onnx`, `openvino`, `vllm`, `endpoint`, or `auto`."""
    dtype: str | None = None
    """float32, bfloat16 or int8; None is float32 on processors."""
    max_tokens: int | None = None
    gpus: float = 0.0
    calls: int = 1
    """Calls that may be under way at a time."""
    upstream: UpstreamSpec | None = None
