"""The family report as one self-contained page."""

from collections.abc import Mapping
from typing import Any

from polyglossa.pages.shell import page_part, render_shell


def render_page(data: Mapping[str, Any]) -> str:
    """Fill the page.

    Args:
        data: title, members, languages, training, lineage, corpus, mine and taught (see `run.page_data`).
    """
    body, style, script = (page_part("polyglossa.report", f"page.{kind}") for kind in ("html", "css", "js"))
    return render_shell(str(data["title"]), body, style=style, script=script, data=data, data_id="family-data")
