"""Files to write from, recipes of sources, and what a fake endpoint answers to them."""

import json
import re
from pathlib import Path
from typing import Any

from polyglossa.recipe.sections.sources import SyntheticSource

WORDS = ("river", "stone", "paper", "cloud", "house", "light", "bread", "water")


def write_lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def passages(count: int, language: str = "swh") -> list[dict[str, str]]:
    return [{"text": f"{WORDS[n % 8]} tells of thing {n}", "language": language} for n in range(count)]


def pairs(count: int) -> list[dict[str, str]]:
    return [{"query": f"where is {WORDS[n % 8]} {n}", "passage": f"{WORDS[n % 8]} {n} is here"} for n in range(count)]


def source(url: str, files: str, make: dict[str, Any] | None = None, **changes: Any) -> SyntheticSource:
    """Questions for passages with a column of languages, unless told otherwise."""
    writer = {"model": "m", "endpoint": url, "patience_seconds": 0.2} | changes.pop("writer", {})
    plain = {
        "kind": "synthetic", "name": "written", "files": (files,), "writer": writer,
        "make": make or {"kind": "questions"},
        "columns": {"language": "language"} if make is None else {},
    }  # fmt: skip
    return SyntheticSource.model_validate(plain | changes)


def translations(**changes: Any) -> dict[str, Any]:
    return {"kind": "translations", "into": {"swh": "Swahili", "amh": "Amharic"}} | changes


def writes(prompt: str) -> str:
    """Answer as a writer would: a question, a text with its language's mark, the same without it, or a grade."""
    if prompt.startswith("Write questions"):
        return f"1. What does {prompt.split()[-1]} tell?\n- Who asks about {prompt.split()[-1]}?"
    text = prompt.partition("\n\n")[2]
    if prompt.startswith("Translate"):
        language = re.findall(r"into (\w+)", prompt)[0].lower()
        return " ".join(word.partition("_")[0] for word in text.split()) if language == "english" else _mark(text)
    first, second = (prompt.partition(f"{side}: ")[2].partition("\n")[0] for side in ("First", "Second"))
    return "10" if first == second else "2"


def _mark(text: str) -> str:
    return " ".join(f"{word}_x" for word in text.split())
