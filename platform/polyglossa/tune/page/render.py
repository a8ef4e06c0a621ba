"""A search as one self-contained page."""

from collections.abc import Mapping
from typing import Any

from polyglossa.pages.shell import page_part, render_shell


def render_search(found: Mapping[str, Any]) -> str:
    """Fill the page.

    Args:
        found: space, trials, best, front, importance and comparison (see `run.outcome`).
    """
    body, style, script = (page_part("polyglossa.tune.page", f"page.{kind}") for kind in ("html", "css", "js"))
    return render_shell("Polyglossa search", body, style=style, script=script, data=found, data_id="search-data")
