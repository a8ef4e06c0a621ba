"""The page of one's own data: what was gained, the queries that gained and lost most, and rows to look at. Pure.

Data goes inside as JSON, as in the family report: nothing is loaded from anywhere.
"""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any


def render_own(data: Mapping[str, Any]) -> str:
    """Fill the page.

    Args:
        data: `own.json`, and `examples` and `doubtful` with their rows.
    """
    # `</script>` inside a text must not end the element that carries it.
    carried = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    page = _part("polyglossa.own", "page.html")
    parts = {"style": _part("polyglossa.report", "page.css"), "script": _part("polyglossa.own", "page.js")}
    for name, text in parts.items():
        page = page.replace("{{" + name + "}}", text)
    return page.replace("{{data}}", carried)


def _part(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8")
