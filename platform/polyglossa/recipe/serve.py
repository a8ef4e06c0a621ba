"""Recipe section `serve`: which members answer over HTTP."""

from typing import Literal

from pydantic import Field

from polyglossa.recipe.strict import Strict


class ServeConfig(Strict):
    """The endpoint of the family."""

    members: tuple[str, ...] | None = None
    """Members that are served; None means all."""
    host: str = "127.0.0.1"
    """Address to bind; loopback unless you say otherwise."""
    port: int = Field(8000, ge=1, le=65535)
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute precision of the answers."""
    aliases: dict[str, str] = {}
    """Extra model names → member."""
