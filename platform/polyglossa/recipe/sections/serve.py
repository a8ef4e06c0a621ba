"""Recipe section `serve`: which members answer over HTTP."""

from typing import Literal

from pydantic import Field

from polyglossa.recipe.strict import Strict, is_absent, is_off

ServedDtype = Literal["float32", "bfloat16", "int8"]
Engine = Literal["torch", "onnx", "openvino", "vllm", "endpoint", "auto"]


def _is_torch(engine: object) -> bool:
    """Keep the engine that there was before others out of hashes."""
    return engine == "torch"


class ServeConfig(Strict):
    """The endpoint of the family."""

    members: tuple[str, ...] | None = None
    """Members that are served; None means all."""
    host: str = "127.0.0.1"
    """Address to bind; loopback unless you say otherwise."""
    port: int = Field(8000, ge=1, le=65535)
    dtype: ServedDtype | None = Field(None, exclude_if=is_absent)
    """Compute precision of the answers: at least this one (bfloat16 is computed where the device gains by it). None
    takes bfloat16 on GPUs and float32 on processors; `int8` keeps the weights of linear layers so, the table in
    float32."""
    aliases: dict[str, str] = {}
    """Extra model names → member."""
    engine: Literal["torch", "onnx", "openvino", "vllm", "auto"] = Field("torch", exclude_if=_is_torch)
    """What computes: `auto` measures those that are installed when a replica starts, and takes the fastest whose least
    cosine to the encoder on a panel is 0.999 or more."""
    colocate: bool = Field(False, exclude_if=is_off)
    """Whether members run in the process that takes the requests: the fastest way for one client of a small member."""
