"""The report is one page that needs nothing else, and a real browser draws every part of it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from polyglossa.artifact import Artifact, Draft
from polyglossa.pages.shell import page_part
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.report import ReportConfig
from polyglossa.report import run as stage
from polyglossa.report.page import render_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
)  # fmt: skip


@pytest.fixture
def page(config: ReportConfig, inputs: dict[str, Artifact], tmp_path: Path) -> Path:
    draft = Draft(str(tmp_path / "report"))
    stage.run(config, inputs, draft, StagePlacement())
    return Path(draft.uri, "report.html")


def test_page_loads_nothing_from_anywhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", text)
    assert "@import" not in text
    assert "fetch(" not in text


def test_results_stand_beside_the_page(page: Path) -> None:
    results = json.loads((page.parent / "results.json").read_text())
    assert list(results["members"]) == ["base", "small"]


def test_a_name_that_looks_like_markup_stays_text() -> None:
    data = {"title": "<b>", "members": [], "note": "</script><script>alert(1)</script>"}
    text = render_page(data)
    assert "</script><script>alert" not in text
    assert "<title>&lt;b&gt;</title>" in text


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_browser_draws_every_section(page: Path, tmp_path: Path, theme: str) -> None:
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        *FLAGS,
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
        f"file://{page}?theme={theme}",
    ]
    document = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert 'data-ready="yes"' in document
    assert f'data-theme="{theme}"' in document
    assert document.count('class="cell s') == 48
    assert document.count("<section") == page_part("polyglossa.report", "page.html").count("<section")
    assert document.count('role="img"') >= 5
    for part in (
        "Score by parameters",
        "base, untrained",
        "small, not distilled",
        "Cyrillic · 8",
        "†",
        "F2LLM-v2 80M",
        "report/corpus.html",
        "report/mining.html",
        "Mined negatives, small",
        "Distillation",
        "milliseconds for one text",
        "ms a text",
        "mean score meanwhile",
    ):
        assert part in document
    ends = [
        float(y)
        for line in re.findall(r'<line class="interval"[^>]*>', document)
        for y in re.findall(r' y[12]="(.*?)"', line)
    ]
    assert len(ends) == 8
    assert all(0 <= y <= 320 for y in ends), "an interval leaves its chart"
