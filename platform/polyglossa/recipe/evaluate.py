"""Recipe section `evaluate`: which tasks judge which models."""

from pydantic import Field

from polyglossa.recipe.strict import Strict


class EvaluateConfig(Strict):
    """What every member is judged by."""

    heldout: tuple[str, ...] = ("cldr", "pydoc")
    """Sources whose held-out part becomes an mteb task."""
    tasks: tuple[str, ...] = ()
    """Further mteb tasks, by name."""
    widths: bool = True
    """Also score every Matryoshka width."""
    max_tokens: int | None = Field(None, ge=8)
    """Longest text in evaluation; None means the model's own limit."""
