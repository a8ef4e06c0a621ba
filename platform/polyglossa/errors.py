"""Errors that a person meets.

Every message says what was got, what is allowed and what to do. Errors cross process boundaries (Ray pickles them),
so each takes exactly its message. `exit_code` is what a command ends with: 2 for the user's mistake, 1 for ours or
the machine's.
"""

from collections.abc import Collection

_SHOWN_CHARACTERS = 60


def list_names(names: Collection[str], most: int = 12) -> str:
    """List the first names, each cut, and how many more there are; `none` where there are none."""
    shown = (name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}…" for name in names)
    first = [name for name, _ in zip(shown, range(most), strict=False)]
    more = f" and {len(names) - len(first):,} more" if len(names) > len(first) else ""
    return f"{', '.join(first) or 'none'}{more}"


class PolyglossaError(Exception):
    """Anything Polyglossa raises on purpose."""

    exit_code = 1


class UserError(PolyglossaError):
    """The input is wrong and the person who gave it can mend it."""

    exit_code = 2


class RecipeError(UserError):
    """A recipe, an override or a profile is not valid."""


class DataError(UserError):
    """Data that a recipe points to is missing or unusable."""


class ArtifactError(PolyglossaError):
    """An artifact is missing, half-written or not what its reader expects."""


class StorageError(PolyglossaError):
    """Storage is full, or refuses; what was finished before stays."""


class MemoryShortageError(PolyglossaError):
    """A node has too little memory for a stage's tasks; what was finished before stays."""


class TrainingError(PolyglossaError):
    """Training met a state that it must not continue from."""


class EndpointError(PolyglossaError):
    """An embeddings endpoint did not answer, or not as it should."""


class RequestRefused(EndpointError):
    """An endpoint will not answer a request, however often it is asked: wrong key, model, or text."""

    exit_code = 2


class Interrupted(PolyglossaError):
    """The person, or the machine, asked the run to stop."""

    exit_code = 130
