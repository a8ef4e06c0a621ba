"""The page of one's own data: what was gained, the queries that gained and lost most, and rows to look at. Pure."""

from collections.abc import Mapping
from typing import Any

from polyglossa.pages.shell import page_part, render_shell


def render_own(data: Mapping[str, Any]) -> str:
    """Fill the page.

    Args:
        data: `own.json`, and `examples` and `doubtful` with their rows.
    """
    body, style, script = (page_part("polyglossa.own", f"page.{kind}") for kind in ("html", "css", "js"))
    title = "On your own data"
    return render_shell(title, body, heading=title, style=style, script=script, data=data, data_id="own-data")
