"""Put a page into the shell: one file that loads nothing from anywhere, with a light and a dark side.

A page brings its body and what is its own of style and script. `shell.css` holds what two or more pages wear,
`shell.js` the makers of elements, the hint beside the pointer, and the switch between light and dark.
"""

import json
import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

_PLACE = re.compile(r"\{\{(\w+)\}\}")


def render_shell(
    title: str,
    body: str,
    *,
    heading: str = "",
    lead: str = "",
    style: str = "",
    script: str = "",
    data: Mapping[str, Any] | None = None,
    data_id: str = "page-data",
) -> str:
    """Fill the shell.

    Args:
        title: of the window; text.
        body: HTML below the header.
        heading: text of `#title`; a script may fill it instead.
        lead: text of `#lead`, the line below; likewise.
        style: CSS behind the shell's.
        script: JavaScript behind the shell's.
        data: what the script reads, as JSON.
        data_id: of the element that carries it.
    """
    # `</script>` inside a text must not end the element that carries it.
    carried = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    parts = {
        "title": escape(title),
        "heading": escape(heading),
        "lead": escape(lead),
        "style": page_part("polyglossa.pages", "shell.css") + style,
        "body": body,
        "data": "" if data is None else f'<script id="{data_id}" type="application/json">{carried}</script>',
        "script": page_part("polyglossa.pages", "shell.js") + script,
    }
    # In one pass: what is filled in may itself hold two braces.
    return _PLACE.sub(lambda place: parts[place[1]], page_part("polyglossa.pages", "shell.html"))


def page_part(package: str, name: str) -> str:
    """Read a file of a page from its package."""
    return files(package).joinpath(name).read_text(encoding="utf-8")
