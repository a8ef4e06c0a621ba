"""Name the extra of the package that something missing comes with.

`pip install polyglossa` holds what `Encoder` needs. What else a package is for stands in `pyproject.toml` alone, and is
read here from the installed package's metadata. Standard library only: this runs where anything may be missing.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

from polyglossa.errors import UserError

_PACKAGE = "polyglossa"
_SMALLEST_FIRST = ("recipe", "serve", "evaluate", "cluster")
"""Extras by how much they bring; a package that several bring is named with the first."""
_IMPORTED_AS = {"yaml": "pyyaml", "faiss": "faiss-cpu", "pydantic-core": "pydantic", "starlette": "fastapi"}
"""Distributions whose modules are not called as they are."""
_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9._-]+)(?:\[([^\]]*)\])?[^;]*(?:;.*extra\s*==\s*[\"']([^\"']+)[\"'])?")


class MissingExtra(UserError, ImportError):
    """Something that an extra of the package brings is not installed."""


def require_extras(extras: tuple[str, ...], purpose: str) -> None:
    """Check that everything of some extras is installed.

    Raises:
        MissingExtra: the first that is not, with what it is needed for.
    """
    for extra in extras:
        missing = sorted(name for name in distributions_of(extra) if not _is_installed(name))
        if missing:
            raise MissingExtra(f"{purpose} needs {missing[0]}, which is not installed. {_remedy(extra)}")


@contextmanager
def naming_extras() -> Iterator[None]:
    """Say which extra a module comes with where it turns out to be missing; other failures pass.

    Raises:
        MissingExtra: a module that an extra brings is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        extra = find_extra((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise MissingExtra(f"{error.name} is not installed. {_remedy(extra)}", name=error.name) from None


def find_extra(module: str) -> str | None:
    """Find the smallest extra that brings a top-level module; None where none does."""
    plain = _plain(module)
    wanted = _IMPORTED_AS.get(plain, plain)
    known = [extra for _, _, extra in _requirements() if extra not in ("", *_SMALLEST_FIRST)]
    return next((extra for extra in (*_SMALLEST_FIRST, *known) if wanted in distributions_of(extra)), None)


def distributions_of(extra: str) -> frozenset[str]:
    """Names of the distributions that an extra brings, those of the extras it stands on included."""
    found: set[str] = set()
    for name, below, of in _requirements():
        if of == extra:
            found |= frozenset().union(*map(distributions_of, below)) if name == _PACKAGE else {name}
    return frozenset(found)


def _requirements() -> list[tuple[str, tuple[str, ...], str]]:
    """Each requirement of the package: distribution, its extras, and the extra of ours that it belongs to or ""."""
    try:
        lines = metadata.requires(_PACKAGE) or []
    except metadata.PackageNotFoundError:  # a checkout on the path
        return []
    parsed = filter(None, map(_REQUIREMENT.match, lines))
    return [
        (_plain(name), tuple(part.strip() for part in (below or "").split(",") if part), extra or "")
        for name, below, extra in (match.groups() for match in parsed)
    ]


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _remedy(extra: str) -> str:
    return f'Install it with: pip install "{_PACKAGE}[{extra}]"'


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
