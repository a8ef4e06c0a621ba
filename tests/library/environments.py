"""Environments that hold no more than an extra of the package brings, made of links to what is installed here.

A real `pip install` needs the network. The links of a distribution are its top-level files and folders, and what it
requires in turn; the interpreter starts without its own site-packages.
"""

import os
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
_ISOLATE = "import sys; sys.path[:] = [entry for entry in sys.path if 'site-packages' not in entry]; "


def requirements(extra: str | None) -> list[Requirement]:
    """Read what `pyproject.toml` asks for with an extra, or without one."""
    found = [Requirement(line) for line in PROJECT["dependencies"]]
    for line in EXTRAS[extra] if extra else ():
        requirement = Requirement(line)
        if requirement.name == "polyglossa":
            found += [inner for name in sorted(requirement.extras) for inner in requirements(name)]
        else:
            found.append(requirement)
    return found


def make_environment(folder: Path, extra: str | None = None) -> Path:
    """Link what an extra brings into a folder, with metadata of the package as `pyproject.toml` has it."""
    folder.mkdir()
    for name in _closure(requirements(extra)):
        for top in {Path(str(file)).parts[0] for file in metadata.distribution(name).files or ()} - {".."}:
            target, link = Path(str(metadata.distribution(name).locate_file(top))), folder / top
            if top != "__pycache__" and target.exists() and not link.exists():
                link.symlink_to(target)
    lines = ["Metadata-Version: 2.4", "Name: polyglossa", "Version: 0.1.0"]
    lines += [f"Requires-Dist: {line}" for line in PROJECT["dependencies"]]
    lines += [f'Requires-Dist: {line}; extra == "{name}"' for name, needed in EXTRAS.items() for line in needed]
    (folder / "polyglossa-0.1.0.dist-info").mkdir()
    (folder / "polyglossa-0.1.0.dist-info" / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def run_in(environment: Path, code: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python code where only the environment, the package and the standard library are."""
    return subprocess.run(
        [sys.executable, "-S", "-c", _ISOLATE + code, *arguments],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}:{environment}"},
        cwd=cwd or environment.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip


def _closure(wanted: list[Requirement]) -> set[str]:
    found: set[tuple[str, str]] = set()
    todo = [(one.name, extra) for one in wanted for extra in ("", *one.extras)]
    while todo:
        name, extra = todo.pop()
        if (name, extra) in found or not _is_there(name):
            continue
        found.add((name, extra))
        for line in metadata.requires(name) or ():
            one = Requirement(line)
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                todo += [(one.name, inner) for inner in ("", *one.extras)]
    return {name for name, _ in found}


def _is_there(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
