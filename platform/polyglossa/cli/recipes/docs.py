"""`polyglossa docs`: write the derived parts of the folder READMEs, or tell which are stale (`make docs`)."""

from pathlib import Path
from typing import Annotated

import typer

from polyglossa.errors import PolyglossaError
from polyglossa.pipeline.recipe_reference import documents, stale


def docs(
    root: Annotated[Path, typer.Option(help="The repository.")] = Path(),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail where a file is stale.")] = False,
) -> None:
    """Write the recipe reference and the troubleshooting tables from the code."""
    if check:
        if found := stale(root):
            raise PolyglossaError(f"stale, run `make docs`: {', '.join(map(str, found))}")
        return
    for path, text in documents(root).items():
        path.write_text(text, encoding="utf-8")
