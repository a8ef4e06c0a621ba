"""The family report as one self-contained page: data, style and script go inside, nothing is loaded from anywhere."""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any


def render_page(data: Mapping[str, Any]) -> str:
    """Fill the page.

    Args:
        data: title, members, languages, training, lineage, corpus, mine and taught (see `run.page_data`).
    """
    # `</script>` inside a text must not end the element that carries it.
    carried = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    page = _part("page.html")
    parts = {"title": _escape(str(data["title"])), "style": _part("page.css"), "script": _part("page.js")}
    for name, text in parts.items():
        page = page.replace("{{" + name + "}}", text)
    return page.replace("{{data}}", carried)


def _part(name: str) -> str:
    return files("polyglossa.report").joinpath(name).read_text(encoding="utf-8")


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
