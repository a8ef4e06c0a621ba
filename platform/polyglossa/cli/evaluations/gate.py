"""`polyglossa gate`: move aliases to members that pass the recipe's gate."""

from collections.abc import Sequence
from typing import Annotated

import typer

from polyglossa.cli.options import Overrides, RecipeFile
from polyglossa.errors import UserError
from polyglossa.recipe import load_recipe


def gate(
    recipe: RecipeFile,
    alias: Annotated[
        list[str] | None, typer.Option(metavar="ALIAS=MEMBER", help="What moves where; default: `serve.aliases`.")
    ] = None,
    check: Annotated[bool, typer.Option(help="Only check; move nothing.")] = False,
    overrides: Overrides = None,
) -> None:
    """Move aliases to their members where the recipe's gate holds; exit code 1 where it does not."""
    from polyglossa.pipeline.promotion import promote

    loaded = load_recipe(recipe, overrides or ())
    wanted = dict(_alias(text) for text in alias or ()) or dict(loaded.serve.aliases)
    if not wanted:
        raise UserError("gate: the recipe has no `serve.aliases`; give --alias ALIAS=MEMBER.")
    held = []
    for name, member in wanted.items():
        held.append(_report_promotion(name, member, promote(loaded, name, member, move=not check).reasons))
    if not all(held):
        raise typer.Exit(1)


def _report_promotion(alias: str, member: str, reasons: Sequence[str]) -> bool:
    typer.echo(f"{alias} → {member}: {'the gate holds' if not reasons else 'stays where it is'}")
    for reason in reasons:
        typer.echo(f"  {reason}")
    return not reasons


def _alias(text: str) -> tuple[str, str]:
    alias, _, member = text.partition("=")
    if not alias or not member:
        raise UserError(f"--alias {text}: write ALIAS=MEMBER.")
    return alias, member
