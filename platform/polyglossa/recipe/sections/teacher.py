"""Configuration of a teacher store: the vectors of one teacher for every text of a pack."""

from typing import Literal

from pydantic import Field

from polyglossa.recipe.outside import OutsideTeacher
from polyglossa.recipe.strict import Strict, is_absent


class TeacherConfig(Strict):
    """A teacher's raw pooled states, cut to what its students need."""

    width: int | None = Field(None, ge=8)
    """Coordinates kept (the first ones): the widest student's width; None keeps all."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Compute precision of the teacher (published: bfloat16): at least this one, as in training."""
    stored: Literal["float16", "float32"] = "float16"
    """Precision of the store; float32 is for reference runs."""
    chunk_tokens: int = Field(2048, ge=16)
    """Token budget of one forward pass."""
    outside: OutsideTeacher | None = Field(None, exclude_if=is_absent)
    """The teacher, where it is not a member of the family; it then reads a pack of texts."""
