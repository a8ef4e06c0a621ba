"""What a searched student may cost. No torch: a wrong budget is refused before that is loaded."""

from dataclasses import dataclass

from polyglossa.errors import RecipeError


@dataclass(frozen=True)
class Budget:
    """What a student may cost at most: one of the two."""

    parameters: int | None = None
    milliseconds: float | None = None
    """One text of 32 tokens on one CPU thread, median."""

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Read `100M`, `850K`, `0.6B`, `557952` (parameters) or `4.5ms`.

        Raises:
            RecipeError: it is neither.
        """
        scale = {"K": 1e3, "M": 1e6, "B": 1e9}
        try:
            if text.lower().endswith("ms"):
                found = cls(milliseconds=float(text[:-2]))
            else:
                factor = scale.get(text[-1:].upper(), 1)
                found = cls(parameters=int(float(text[:-1] if factor != 1 else text) * factor))
        except ValueError:
            found = cls()
        if not (found.parameters or found.milliseconds or 0) > 0:
            raise RecipeError(f"--budget {text}: write parameters as 100M or 850K, or time per text as 5ms.")
        return found
