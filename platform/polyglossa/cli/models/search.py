"""`polyglossa search`: ask one's own documents, with the model that a recipe promoted or made last."""

from pathlib import Path
from typing import Annotated

import typer

from polyglossa.cli.options import RecipeFile
from polyglossa.errors import UserError
from polyglossa.recipe import Recipe, load_recipe
from polyglossa.storage import absolute

_SHOWN = 300


def search(
    recipe: RecipeFile,
    question: Annotated[str, typer.Argument(help="What is asked, in words.")],
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Documents shown.")] = 5,
) -> None:
    """Find the documents of `polyglossa init` that answer a question."""
    loaded = load_recipe(recipe)
    if loaded.own is None:
        raise UserError(f"{recipe}: has no section `own`, so it knows no documents; `polyglossa init` writes one.")
    from polyglossa.own.search import search_documents

    found = search_documents(question, _model(loaded), Path(loaded.own.folder), absolute(loaded.root), count)
    for one in found:
        text = " ".join(one.text.split())
        typer.echo(f"{one.score:.3f}  {text if len(text) <= _SHOWN else f'{text[: _SHOWN - 1]}…'}")


def _model(recipe: Recipe) -> str:
    """Directory of the promoted model; without one, of the first member, once it is trained."""
    from polyglossa.pipeline.find_artifacts import served_models
    from polyglossa.pipeline.promotion import read_promotions

    promoted = read_promotions(recipe)
    alias = next((name for name in recipe.serve.aliases if name in promoted), None)
    return str(promoted[alias]["model"]) if alias is not None else served_models(recipe)[recipe.members[0].name]
