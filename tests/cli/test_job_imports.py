"""Commands and benchmarks import late, so a name that has gone would show only when one is run."""

import ast
import importlib
import importlib.util
from pathlib import Path

JOBS = Path(__file__).parents[2] / "jobs"


def holds(module: str, name: str) -> bool:
    """Whether a module has a name, or a package a module of that name."""
    loaded = importlib.import_module(module)
    folder = hasattr(loaded, "__path__")
    return hasattr(loaded, name) or (folder and importlib.util.find_spec(f"{module}.{name}") is not None)


def test_whatever_a_command_imports_from_the_package_is_there() -> None:
    missing = [
        f"{file.name}: {node.module}.{name.name}"
        for file in sorted(JOBS.rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("polyglossa", "jobs."))
        for name in node.names
        if not holds(str(node.module), name.name)
    ]
    assert not missing
