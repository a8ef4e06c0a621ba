"""Protects evaluation on real text: every planted copy of an evaluation text is found, and what is clean stays.

Needs the data of `jobs/recipes/real-small.yaml`: `$POLYGLOSSA_DATA`, or `../shared/data` beside the checkout.
"""

import json
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from polyglossa.artifact import Artifact, ArtifactKey, produce
from polyglossa.corpus import run as stage
from polyglossa.corpus.clean.text import fold
from polyglossa.recipe.load import read_mapping, validate
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.corpus import CorpusConfig

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("POLYGLOSSA_DATA", ROOT / "../shared/data")).resolve()
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no data in {DATA}; set POLYGLOSSA_DATA")

EVALUATED = read_mapping(ROOT / "jobs/recipes/real-small.yaml")["evaluate"]["local"]
KINDS = ("exact", "recased", "respaced", "sentence")
PER_KIND = 75
SPACELESS = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u4e00-\u9fff]")


def sentences(text: str) -> list[str]:
    """Sentences at least as long as the stated block: 50 characters, or 30 of a script without spaces."""
    found = [part.strip() for part in re.findall(r"[^.!?。！？]+[.!?。！？]", text)]
    return [
        part
        for part in found
        if len(fold(part)) >= 50 or (len(fold(part)) >= 30 and 2 * len(SPACELESS.findall(part)) >= len(part) + 10)
    ]


def copy(kind: str, text: str, drawn: random.Random) -> str:
    if kind == "recased":
        return text.upper() if drawn.random() < 0.5 else text.title()
    if kind == "respaced":
        return "\n " + re.sub(r"\s", lambda _: drawn.choice(["  ", "\n", "\t ", "\u00a0"]), text) + " \t"
    if kind == "sentence":
        return f"Quite another beginning, number {drawn.random()}. {drawn.choice(sentences(text))} And then no more."
    return text


def plant(folder: Path) -> tuple[set[str], set[str]]:
    """Write a source of planted copies and clean rows; return the marks of both."""
    drawn = random.Random(7)
    texts = [
        text
        for name in ("xquad", "native", "tldr")
        for text in drawn.sample(
            pq.read_table(DATA / "eval/retrieval" / name / "corpus.parquet")["text"].to_pylist(), 800
        )
    ]
    rows: list[dict[str, str]] = []
    for kind in KINDS:
        usable = [text for text in texts if kind != "sentence" or sentences(text)]
        for place, text in enumerate(drawn.sample(usable, PER_KIND)):
            mark, planted = f"{kind}-{place}", copy(kind, text, drawn)
            as_query = place % 3 == 0
            rows.append(
                {
                    "mark": mark,
                    "query": planted if as_query else f"ask {mark}",
                    "passage": f"answer {mark}" if as_query else planted,
                }
            )
    alphabet = [word for text in texts for word in text.split() if len(word) <= 12]
    for place in range(300):  # words of the same texts in another order
        rows.append(
            {"mark": f"clean-{place}", "query": f"ask clean-{place}", "passage": " ".join(drawn.sample(alphabet, 60))}
        )
    (folder / "planted.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    marks = {row["mark"] for row in rows}
    return {mark for mark in marks if not mark.startswith("clean")}, {
        mark for mark in marks if mark.startswith("clean")
    }


def make(tmp_path: Path, only: tuple[str, ...] | None) -> tuple[Artifact, set[str], set[str]]:
    """Run the recipe's corpus with the planted source in front; `only` some of its sources, or all."""
    planted, clean = plant(tmp_path)
    section: dict[str, Any] = read_mapping(ROOT / "jobs/recipes/real-small.yaml")["corpus"]
    source = {"kind": "pairs", "name": "planted", "task": "retrieval", "files": [str(tmp_path / "planted.jsonl")]}
    source["columns"] = {"label": "mark"}
    source["language"] = "und"
    kept = [entry for entry in section["sources"] if only is None or entry["name"] in only]
    settings = {"data": str(DATA), "sources": [source, *kept], "instructions": str(ROOT / section["instructions"])}
    settings["max_queries"] = 80_000  # the published cap, so that far more is kept than the recipe's budget
    config = validate(CorpusConfig, {**section, **settings}, "real-small")
    key = ArtifactKey(stage.STAGE, "corpus", stage.REVISION, config.model_dump(mode="json"))
    return produce(str(tmp_path), key, lambda draft: stage.run(config, {}, draft, StagePlacement())), planted, clean


def check_planted(artifact: Artifact, planted: set[str], clean: set[str]) -> None:
    """Recall is 1 and no clean row is lost."""
    stayed = set(pq.read_table(artifact.at("pairs", "planted"))["label"].to_pylist())
    missed = sorted(planted & stayed)
    lost = sorted(clean - stayed)
    recall = 1 - len(missed) / len(planted)
    print(f"planted {len(planted)}, recall {recall:.4f}, clean {len(clean)}, falsely removed {len(lost)}")
    assert missed == []
    assert lost == []
    removed = artifact.read_json("account.json")["rejects"]["planted"]
    assert {reason for reason in removed if reason != "near_duplicate"} == {
        "contaminated_query", "contaminated_document", "contaminated_block",
    }  # fmt: skip


def evaluation_texts(artifact: Artifact) -> Iterator[str]:
    """Every text of the sets that the recipe keeps out."""
    for entry in artifact.manifest["config"]["decontamination"]["sets"]:
        place = DATA / entry["path"]
        files = [place] if place.is_file() else [place / "corpus.parquet", place / "queries.parquet"]
        for file in files:
            yield from pq.read_table(file)["text"].to_pylist()


def check_nothing_of_evaluation_survives(artifact: Artifact, sources: list[str]) -> None:
    """No kept text is an evaluation text, and none of a sample shares 50 characters with one (by another algorithm)."""
    texts = [fold(text) for text in evaluation_texts(artifact)]
    kept = {fold(text) for text in pq.read_table(artifact.at("documents"))["text"].to_pylist()}
    for source in sources:
        kept.update(fold(text) for text in pq.read_table(artifact.at("pairs", source))["query"].to_pylist())
    assert kept.isdisjoint(texts)
    sample = random.Random(1).sample(sorted(kept), min(3000, len(kept)))
    windows = {text[start : start + 50] for text in sample for start in range(len(text) - 49)}
    assert not any(text[start : start + 50] in windows for text in texts for start in range(len(text) - 49))


def test_planted_copies_are_found_among_some_sources(tmp_path: Path, ray_local: None) -> None:
    artifact, planted, clean = make(tmp_path, ("scitldr", "clinc150"))
    check_planted(artifact, planted, clean)


@pytest.mark.slow
def test_all_real_data_goes_through_and_reconciles(tmp_path: Path, ray_local: None) -> None:
    artifact, planted, clean = make(tmp_path, None)
    check_planted(artifact, planted, clean)
    sources = artifact.read_json("sources.json")
    check_nothing_of_evaluation_survives(artifact, list(sources))
    assert {entry["path"] for entry in EVALUATED} <= {
        entry["path"] for entry in artifact.manifest["config"]["decontamination"]["sets"]
    }
    counts, account = artifact.counts, artifact.read_json("account.json")
    assert counts["rows_in"] == counts["rows_out"] + sum(counts["rejects"].values())
    assert len({language for one in sources.values() for language in one["languages"]}) >= 197
    assert {one["task"] for one in sources.values()} == {"retrieval", "bitext", "clustering"}
    for name, rows in account["rows_in"].items():
        out = pq.read_table(artifact.at("pairs", name), columns=["pair_id"]).num_rows
        assert rows == out + sum(account["rejects"].get(name, {}).values()), name
    rejects = pq.read_table(artifact.at("rejects"))
    assert Counter(rejects["reason"].to_pylist()) == counts["rejects"]
    assert pc.count_distinct(pq.read_table(artifact.at("documents"))["doc_id"]).as_py() == counts["documents"]
