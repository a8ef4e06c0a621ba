"""`polyglossa init`: look at one's own files, propose a recipe, write it, and print what it costs. Asks on a terminal.

polyglossa init data/faq.jsonl data/manuals/ --name mine --size small --yes
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from polyglossa.capacity.estimate import estimate
from polyglossa.capacity.processor import with_this_processor
from polyglossa.capacity.table import plan_table
from polyglossa.costing.devices import read_calibration
from polyglossa.errors import UserError
from polyglossa.recipe import load_profile, load_recipe
from polyglossa.recipe.load import dump_yaml, validate
from polyglossa.recipe.models import Recipe
from polyglossa.scaffold.compose import SIZES, compose, write
from polyglossa.scaffold.look import Look, look
from polyglossa.scaffold.propose import Proposal, pairs_from_columns, propose

Files = Annotated[list[Path] | None, typer.Argument(help="Files or folders: Parquet, JSON lines, CSV, TSV.")]


def init(
    files: Files = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    out: Annotated[Path | None, typer.Option(help="Recipe file to write; default: NAME.yaml.")] = None,
    size: Annotated[str | None, typer.Option(help=f"First member: {', '.join(SIZES)}.")] = None,
    columns: Annotated[str | None, typer.Option(help="Columns of every file: query=…,positive=…")] = None,
    profile: Annotated[Path | None, typer.Option(help="Placement profile that the plan is for.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing; take what is proposed.")] = False,
) -> None:
    """Write a first recipe for one's own data, and print its plan."""
    asks = not yes and sys.stdin.isatty()
    looks = look(files or [Path(_ask("Files or folders of data", None, asks))])
    proposals = [_propose_with_task(one, columns, asks) for one in looks]
    name = name or _ask("Name of the run", proposals[0].look.name.lower(), asks)
    size = size or _ask(f"First member ({', '.join(SIZES)})", SIZES[0], asks)
    data = compose(name, proposals, size=size)
    validate(Recipe, data, f"{name}.yaml")
    target = out or Path(f"{name}.yaml")
    write(data, target, dump_yaml(data))
    placement = load_profile(profile)
    speeds = with_this_processor(read_calibration(None), [placement])
    plan = estimate(load_recipe(target), placement, speeds, {})
    typer.echo(f"{plan_table(plan)}\n\n{target} written. Run it: polyglossa run {target}")


def _propose_with_task(one: Look, columns: str | None, asks: bool) -> Proposal:
    """Propose a source, and let a person change its task."""
    found = pairs_from_columns(one, _pairs_of(columns)) if columns else propose(one)
    kind = found.entry["kind"]
    about = "about " if one.is_estimate else ""
    typer.echo(
        f"{one.name}: {about}{one.rows:,} rows in {len(one.paths)} file(s); {kind}, {found.task}: {found.reason}"
    )
    for notice in one.notices:
        typer.echo(f"  {notice}")
    if asks and "task" in found.entry:
        found.entry["task"] = _ask(f"Task of {one.name}", found.task, asks)
    return found


def _pairs_of(columns: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in columns.split(",")]
    if not all(key and value for key, _, value in pairs):
        raise UserError(f"--columns {columns}: write query=COLUMN,positive=COLUMN.")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _ask(question: str, default: str | None, asks: bool) -> str:
    if asks:
        return str(typer.prompt(question, default=default))
    if default is None:
        raise UserError(f"{question.lower()}: give them as arguments, or run `polyglossa init` on a terminal.")
    return default
