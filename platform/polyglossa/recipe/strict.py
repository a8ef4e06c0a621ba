"""The one base of every recipe model: frozen, complete, unknown keys refused, fields documented where they stand."""

from collections.abc import Callable
from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A frozen model that refuses unknown keys. A field's docstring gives its unit and scope."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    def changed(self, **values: Any) -> Self:
        """Return a copy with other values, validated as any other."""
        return type(self).model_validate({**self.model_dump(), **values})


def is_absent(value: object) -> bool:
    """Keep what is not asked for out of hashes: an artifact made before the field existed is the same one."""
    return value is None


def is_off(value: object) -> bool:
    """Keep a switch that is off out of hashes, for the same reason."""
    return not value


def is_still(default: object) -> Callable[[object], bool]:
    """Return the rule that keeps a choice out of hashes while it is the one that there was before the field."""
    return lambda value: value == default
