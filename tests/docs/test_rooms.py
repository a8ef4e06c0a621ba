"""Protects the house: no room of the package outweighs the others, and no folder is a heap of files."""

from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "platform/polyglossa"
MOST_FILES = 16
LARGEST_SHARE = 0.12
LEFT_OUT = {"__pycache__", "runs", ".venv"}


def files_of(folder: Path) -> list[Path]:
    """Return a folder's own files that say something: the marks of packages do not."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name != "__init__.py" and not LEFT_OUT & set(path.relative_to(ROOT).parts)
    ]


def test_no_folder_holds_more_than_sixteen_files_of_its_own() -> None:
    places = [place for name in ("platform", "jobs", "tests", "serve", "cluster") for place in files_of(ROOT / name)]
    crowded = {
        str(folder.relative_to(ROOT)): count
        for folder, count in Counter(path.parent for path in places).items()
        if count > MOST_FILES
    }
    assert not crowded


def test_no_room_holds_more_than_twelve_of_a_hundred_lines() -> None:
    lines = Counter[str]()
    for path in files_of(PACKAGE):
        lines[path.relative_to(PACKAGE).parts[0]] += len(path.read_text(encoding="utf-8").splitlines())
    total = lines.total()
    assert {room: count for room, count in lines.items() if count > LARGEST_SHARE * total} == {}
