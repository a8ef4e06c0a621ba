"""A search as one self-contained page: data, style and script go inside, nothing is loaded from anywhere.

It wears the family report's style; what is its own comes after it.
"""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any


def render_search(found: Mapping[str, Any]) -> str:
    """Fill the page.

    Args:
        found: space, trials, best, front, importance and comparison (see `run.outcome`).
    """
    # `</script>` inside a text must not end the element that carries it.
    carried = json.dumps(found, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    style = files("polyglossa.report").joinpath("page.css").read_text(encoding="utf-8")
    parts = {"style": style + _part("page.css"), "script": _part("page.js")}
    page = _part("page.html")
    for name, text in parts.items():
        page = page.replace("{{" + name + "}}", text)
    return page.replace("{{data}}", carried)


def _part(name: str) -> str:
    return files("polyglossa.tune.page").joinpath(name).read_text(encoding="utf-8")
