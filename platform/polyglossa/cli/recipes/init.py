"""`polyglossa init`: from one's own files and a model to a recipe that makes it better on them, and says by how much.

polyglossa init faq.jsonl --model sentence-transformers/all-MiniLM-L6-v2 --name mine
polyglossa init clicks.csv manuals/ --model ../models/e5 --yes
polyglossa init new.jsonl --extend mine.yaml --out mine-2.yaml
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import psutil
import typer

from polyglossa.capacity.estimate import estimate
from polyglossa.capacity.processor import with_this_processor
from polyglossa.capacity.table import plan_table
from polyglossa.costing.devices import device_of, read_calibration
from polyglossa.errors import UserError
from polyglossa.recipe import Profile, load_profile, load_recipe
from polyglossa.scaffold.base_model import DEFAULT_MODEL
from polyglossa.scaffold.begin import SCRATCH, Wanted, begin, read_files
from polyglossa.scaffold.compose import SIZES
from polyglossa.scaffold.fine_tune import Machine
from polyglossa.scaffold.look import Look
from polyglossa.scaffold.own.written_questions import ChatEndpoint, write_questions
from polyglossa.scaffold.propose import Proposal, pairs_from_columns, propose

Files = Annotated[
    list[Path] | None,
    typer.Argument(help="Files or folders: Parquet, JSON lines, CSV, TSV; Markdown and text as documents."),
]


def init(
    files: Files = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME_OR_DIR", help=f"Model to fine-tune, or `{SCRATCH}`.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Recipe file to write; default: NAME.yaml.")] = None,
    size: Annotated[str | None, typer.Option(help=f"Of a model from scratch: {', '.join(SIZES)}.")] = None,
    columns: Annotated[str | None, typer.Option(help="Columns of every file: query=…,positive=…")] = None,
    matryoshka: Annotated[bool, typer.Option("--matryoshka", help="Train vectors that can be cut shorter.")] = False,
    student: Annotated[bool, typer.Option("--student", help="Also train a model of half the layers.")] = False,
    extend: Annotated[
        Path | None, typer.Option(help="Recipe to go on with: its data and its promoted model, and these files.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="Chat endpoint (…/v1) that writes questions about documents.")
    ] = None,
    endpoint_model: Annotated[str | None, typer.Option(metavar="NAME", help="Model that it knows.")] = None,
    key_variable: Annotated[str, typer.Option(help="Environment variable with its key.")] = "OPENAI_API_KEY",
    profile: Annotated[Path | None, typer.Option(help="Placement profile that the run is for.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing; take what is proposed.")] = False,
) -> None:
    """Write a recipe for one's own data, judged by a part of it that is held out."""
    asks = not yes and sys.stdin.isatty()
    paths = files or [Path(_ask("Files or folders of data", None, asks))]
    write = _writer(endpoint, endpoint_model, key_variable, Path(f"{name or 'own'}.questions.jsonl"))
    proposals, documents = read_files(paths, lambda one: _propose_with_task(one, columns, asks), write)
    name = name or (load_recipe(extend).name if extend else None)
    name = name or _ask("Name of the run", proposals[0].look.name.lower(), asks)
    if model is None and extend is None:
        wish = f"Model to fine-tune: a hub name, a directory, or `{SCRATCH}`"
        model = SCRATCH if size else _ask(wish, DEFAULT_MODEL, asks)
    target = out or Path(f"{name}.yaml")
    wanted = Wanted(name, target, model or "", size or SIZES[0], matryoshka, student, extend)
    placement = load_profile(profile)
    recipe = begin(wanted, proposals, documents, _machine_of(placement), typer.echo)
    if wanted.model == SCRATCH:
        speeds = with_this_processor(read_calibration(None), [placement])
        typer.echo(plan_table(estimate(recipe, placement, speeds, {})))
    typer.echo(f"\n{target} and {wanted.folder}/ written. Run it: polyglossa run {target}")


def _writer(
    url: str | None, model: str | None, key_variable: str, target: Path
) -> Callable[[Sequence[str]], Path] | None:
    """Who writes questions about documents that come without any; None where no endpoint is given."""
    if url is None:
        return None
    if model is None:
        raise UserError(f"--endpoint {url}: say which of its models writes, with --endpoint-model.")
    chat = ChatEndpoint(url, model, key_variable)
    return lambda passages: write_questions(passages, chat, target, typer.echo)


def _machine_of(profile: Profile) -> Machine:
    """Say what a profile trains on."""
    place = profile.train
    cores = profile.cpus or os.cpu_count() or 1
    if place.gpus:
        return Machine(True, cores, device_of(place, read_calibration(None)).memory_gib or 80.0)
    return Machine(False, cores, psutil.virtual_memory().total / 2**30)


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
