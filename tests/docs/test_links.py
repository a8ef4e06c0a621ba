"""Protects the documents: every link between Markdown files leads to a file and a heading that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HIDDEN = {".git", ".venv", "runs", "node_modules", "shared"}
PAGES = [page for page in sorted(ROOT.rglob("*.md")) if not HIDDEN & set(page.relative_to(ROOT).parts)]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
README_LINES = 160


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_first_page_is_short_and_names_rooms_that_are_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= README_LINES
    rows = re.findall(r"^\| ((?:`\w+/`,? ?)+)\|", text, flags=re.MULTILINE)
    rooms = {room for row in rows for room in re.findall(r"`(\w+)/`", row)}
    assert all((ROOT / "platform/polyglossa" / room).is_dir() or (ROOT / room).is_dir() for room in rooms), rooms
    packages = {file.parent.name for file in (ROOT / "platform/polyglossa").glob("*/__init__.py")}
    assert packages <= rooms, packages - rooms
