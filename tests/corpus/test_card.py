"""Protects the corpus card: its figures are those of the rows, and its page needs nothing else and shows every part."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from polyglossa.artifact import ArtifactKey, produce
from polyglossa.corpus import run as stage
from polyglossa.corpus import statistics
from polyglossa.corpus.card.figures import language_name, render_card
from polyglossa.recipe.load import validate
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.corpus import CorpusConfig

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
WORDS = {"deu": "Haus und Garten", "rus": "дом и сад", "zho": "房子和花园", "eng": "a house and a garden"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, ray_local: None) -> Path:
    folder = tmp_path_factory.mktemp("card")
    rows = [
        {"query": f"{text} {number}", "passage": f"{text} " * 3 + str(number), "lang": language}
        for language, text in WORDS.items()
        for number in range(30 if language == "deu" else 15)
    ]
    empty = {"query": "", "passage": "x", "lang": "eng"}
    (folder / "a.jsonl").write_text("\n".join(json.dumps(row) for row in [*rows, empty]))
    (folder / "b.jsonl").write_text(
        "\n".join(json.dumps(row) for row in [*rows[:7], {"query": "?!", "passage": "<b>"}])
    )
    source = {"kind": "pairs", "task": "retrieval"}
    sources = [
        {**source, "name": "a", "files": [str(folder / "a.jsonl")], "columns": {"language": "lang"}},
        {**source, "name": "b", "files": [str(folder / "b.jsonl")]},
    ]
    config = validate(CorpusConfig, {"sources": sources, "languages": {"min_confidence": 0.999}}, "test")
    key = ArtifactKey(stage.STAGE, "corpus", stage.REVISION, config.model_dump(mode="json"))
    artifact = produce(str(folder), key, lambda draft: stage.run(config, {}, draft, StagePlacement()))
    return Path(artifact.uri)


def card(made: Path) -> dict[str, Any]:
    return dict(json.loads((made / "report/corpus.json").read_text()))


def test_the_card_counts_what_the_artifact_holds(made: Path) -> None:
    data = card(made)
    assert (data["rows_in"], data["rows_out"]) == (84, 76)
    assert data["rejects"] == {"duplicate": 7, "empty": 1}
    assert data["duplicates"] == [{"kept": "a", "dropped": "b", "rows": 7}]
    languages = {row["name"]: row for row in data["languages"]}
    assert languages["deu"]["rows"] == 30
    assert languages["deu"]["title"] == "German"
    assert {row["name"]: row["script"] for row in data["languages"]} == {
        "deu": "Latn", "eng": "Latn", "rus": "Cyrl", "zho": "Hani", "und": "Latn",
    }  # fmt: skip
    assert languages["zho"]["tokens"] == sum(6 + 16 for _ in range(15))
    assert [source["name"] for source in data["sources"]] == ["a", "b"]
    assert [len(source["samples"]) for source in data["sources"]] == [10, 1]


def test_a_language_that_is_not_sure_is_marked_and_its_row_stays(made: Path) -> None:
    (row,) = card(made)["sources"][1]["samples"]
    assert row["language"] == "und"
    assert row["confidence"] < 0.999
    assert card(made)["sources"][1]["identification"] == {"doubtful": 8, "identified": 8}


def test_medians_from_bins_are_within_their_width() -> None:
    drawn = np.random.default_rng(0).lognormal(5, 1, 5000).astype(int) + 1
    bins = statistics.bin_of(pa.array(drawn)).to_numpy()
    assert statistics.median(bins, np.ones(len(bins))) == pytest.approx(np.median(drawn), rel=0.03)


@pytest.mark.parametrize(
    ("code", "name"),
    [("deu", "German"), ("uzb_Cyrl", "Uzbek (Cyrl)"), ("xx-unknown", "xx-unknown"), ("und", "Unknown language")],
)
def test_languages_have_english_names(code: str, name: str) -> None:
    assert language_name(code) == name


def test_the_page_loads_nothing_and_texts_stay_texts(made: Path) -> None:
    page = (made / "report/corpus.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)
    assert "</script><script>" not in render_card({"text": "</script><script>alert(1)"})


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
def test_a_browser_draws_the_card(made: Path, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    page = f"file://{made}/report/corpus.html?theme=dark"
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page]
    document = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert 'data-ready="yes"' in document
    assert 'data-theme="dark"' in document
    assert document.count('class="language"') == 5
    assert document.count('class="sample"') == 11
    for part in ("German", "Near-duplicates were not looked for", "empty", "Haus und Garten", "&lt;b&gt;"):
        assert part in document
