"""The try-it page as one self-contained file; it asks nobody but the endpoint that serves it."""

from polyglossa.pages.shell import page_part, render_shell

_LEAD = "Texts below are ranked by how near their vectors lie to the question's, whatever language each is in."


def render_try_it() -> str:
    """Fill the page."""
    body, style, script = (page_part("polyglossa.serving.page", f"page.{kind}") for kind in ("html", "css", "js"))
    heading = "Search across languages"
    return render_shell("Polyglossa", body, heading=heading, lead=_LEAD, style=style, script=script)
