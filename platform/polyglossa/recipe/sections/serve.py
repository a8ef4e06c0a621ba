"""Recipe section `serve`: which members answer over HTTP."""

from typing import Literal

from pydantic import Field

from polyglossa.recipe.strict import Strict, is_absent

ServedDtype = Literal["float32", "bfloat16", "int8"]


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
