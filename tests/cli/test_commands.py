"""Protects the READMEs: every shown command parses and names files that are there; what is not marked is run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from polyglossa.cli.__main__ import app
from polyglossa.pipeline.recipe_reference import documents, recipe_reference, stale

ROOT = Path(__file__).parents[2]
READMES = sorted(path for path in ROOT.glob("**/README.md") if not {".venv", "runs"} & set(path.parts))
OURS = tuple(ROOT / name for name in ("jobs/README.md", "jobs/recipes/README.md", "serve/README.md"))
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.M | re.S)
MINUTES = "takes minutes"


def shown(path: Path, *kinds: str) -> list[str]:
    """Command lines of a file's blocks: of some kinds, or of all."""
    blocks = [text for kind, text in BLOCK.findall(path.read_text(encoding="utf-8")) if not kinds or kind in kinds]
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith(("polyglossa ", "python jobs/"))]


def words(line: str) -> list[str]:
    return shlex.split(line.split("#")[0])


ALL = [(path.relative_to(ROOT), line) for path in READMES for line in shown(path)]
RUN = [line for path in OURS for line in shown(path, "bash") if MINUTES not in line and "calibrat" not in line]
CALIBRATION = [line for path in OURS for line in shown(path, "bash") if "calibrat" in line]


@pytest.mark.parametrize(("path", "line"), ALL)
def test_a_shown_command_parses_and_names_files_that_are_there(path: Path, line: str) -> None:
    program, *arguments = words(line)
    if program == "polyglossa":
        _parse(typer.main.get_command(app), arguments)
    for word in arguments:
        if word.startswith(("jobs/", "cluster/", "serve/")):
            assert (ROOT / word).exists(), f"{path}: {word}"


@pytest.mark.parametrize("line", RUN)
def test_a_command_that_is_not_marked_runs(line: str, tmp_path: Path) -> None:
    done = run(line, tmp_path)
    assert done.returncode == 0, done.stderr[-800:]


@pytest.mark.slow
def test_calibration_is_measured_and_read(tmp_path: Path) -> None:
    for line in CALIBRATION:
        done = run(line, tmp_path)
        assert done.returncode == 0, done.stderr[-800:]


def test_a_derived_part_that_is_not_current_is_told_and_written_anew(tmp_path: Path) -> None:
    """That the repository's own are current is for `make check` to say."""
    (tmp_path / "jobs/recipes").mkdir(parents=True)
    (tmp_path / "platform").symlink_to(ROOT / "platform")
    for name in ("jobs/README.md", "jobs/recipes/README.md"):
        text = (ROOT / name).read_text()
        (tmp_path / name).write_text(text.replace("begins: `make docs` -->\n", "begins: `make docs` -->\nold\n", 1))
    assert len(stale(tmp_path)) == 2
    for path, text in documents(tmp_path).items():
        path.write_text(text)
    assert stale(tmp_path) == []
    assert "\nold\n" not in (tmp_path / "jobs/recipes/README.md").read_text()


def test_the_reference_names_every_key_once_with_its_default() -> None:
    text = recipe_reference()
    assert "| `global_batch` | integer | `512` | Examples per step over all workers. |" in text
    assert text.count("#### `members.*.backbone.shape`") == 1
    assert "Workers of a" not in text


def test_troubleshooting_holds_messages_of_every_stage() -> None:
    text = documents(ROOT)[ROOT / "jobs/README.md"]
    for folder in ("corpus", "mine", "pack", "engine", "evaluate", "recipe"):
        assert f"#### `{folder}`" in text


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a shown command beside links to the repository's folders and a little data."""
    for name in ("jobs", "cluster", "platform", "serve"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data/faq.jsonl").write_text('{"question": "how?", "answer": "by hand"}\n' * 20)
    program, *arguments = words(line)
    command = ["-m", "polyglossa.cli"] if program == "polyglossa" else []
    return subprocess.run(
        [sys.executable, *command, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "platform")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _parse(command: typer.core.TyperCommand | typer.core.TyperGroup, arguments: list[str]) -> None:
    """Parse as the command line would, without running anything."""
    while isinstance(command, typer.core.TyperGroup):
        command, arguments = command.commands[arguments[0]], arguments[1:]
    if "--help" not in arguments:
        command.make_context("polyglossa", list(arguments))
