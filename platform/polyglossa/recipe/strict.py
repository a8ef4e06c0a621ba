"""The one base of every recipe model: frozen, complete, unknown keys refused, fields documented where they stand."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A frozen model that refuses unknown keys. A field's docstring gives its unit and scope."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )
