"""`polyglossa evaluate`: evaluate any model by mteb tasks, benchmarks or the tasks of a recipe."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from polyglossa.artifact import Artifact
from polyglossa.cli.options import Overrides, ProfileFile
from polyglossa.errors import ArtifactError, PolyglossaError, UserError
from polyglossa.recipe import Recipe, load_profile, load_recipe
from polyglossa.recipe.load import validate
from polyglossa.recipe.sections.evaluate import EvaluateConfig
from polyglossa.runtime import console as progress
from polyglossa.storage import absolute

_Recipe = Annotated[Path | None, typer.Option("--recipe", help="Recipe whose `evaluate` section says which tasks.")]


def evaluate(
    model: Annotated[str, typer.Argument(help="Model directory, artifact, or base URL of an endpoint (…/v1).")],
    recipe: _Recipe = None,
    task: Annotated[list[str] | None, typer.Option(help="mteb task, by name; repeat for more.")] = None,
    benchmark: Annotated[list[str] | None, typer.Option(help="mteb benchmark or preset, by name.")] = None,
    language: Annotated[list[str] | None, typer.Option(help="Only these languages of them (ISO 639-3).")] = None,
    name: Annotated[str | None, typer.Option(help="How results call it; of an endpoint, the model it serves.")] = None,
    judged_as: Annotated[
        str | None,
        typer.Option(
            "--as",
            help="Judge as mteb runs the model of this name: its prompts, longest text, precision.",
        ),
    ] = None,
    instructed: Annotated[bool, typer.Option(help="Give queries instructions though the model pins none.")] = False,
    key_variable: Annotated[str, typer.Option(help="Environment variable with the endpoint's key.")] = "OPENAI_API_KEY",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that the endpoint may take to answer.")] = 60.0,
    out: Annotated[str, typer.Option(help="Storage root of results, vectors and verdicts.")] = "runs/evaluations",
    overrides: Overrides = None,
    profile: ProfileFile = None,
) -> None:
    """Judge a model by mteb tasks, benchmarks, or the tasks of a recipe; what was judged before is not judged again."""
    loaded = load_recipe(recipe, overrides or ()) if recipe is not None else None
    config, corpus = _tasks(loaded, task or [], benchmark or [], language or [], judged_as)
    placement = load_profile(profile)
    from polyglossa.evaluate.standalone import evaluate_model, model_spec, summary_table
    from polyglossa.runtime.session import ray_session

    options = {"key_variable": key_variable, "timeout_seconds": timeout}
    spec = model_spec(model, config, name=name, instructed=instructed, options=options)
    log = Path("runs/evaluations" if "://" in out else out) / "logs" / f"{datetime.now():%Y%m%d-%H%M%S}.log"
    with progress.open_console(log), ray_session(placement):
        progress.say(f"{spec.name}: judged under {out}; details in {log}")
        done = evaluate_model(spec, config, corpus, absolute(out), placement.evaluate)
    console = Console()
    summary = done.read_json("summary.json")
    console.print(summary_table(summary))
    console.print(f"results: {done.uri}", soft_wrap=True)
    if not summary["tasks"]:
        raise PolyglossaError("no task could be judged; why is said above. The same command tries again.")


def _tasks(
    recipe: Recipe | None, tasks: list[str], benchmarks: list[str], languages: list[str], judged_as: str | None
) -> tuple[EvaluateConfig, Artifact | None]:
    """Which tasks, and the corpus whose held-out sets are among them.

    Raises:
        UserError: nothing was asked for.
        ArtifactError: the recipe's tasks are of a corpus that is not made yet.
    """
    if recipe is None and not (tasks or benchmarks):
        raise UserError("evaluate: nothing to judge by; give --task, --benchmark or --recipe.")
    given = recipe.evaluate.model_dump() if recipe is not None and not (tasks or benchmarks) else {"heldout": ()}
    named = {"tasks": tasks, "benchmarks": benchmarks, "languages": languages}
    chosen = {"judged_as": judged_as, **named}
    config = validate(EvaluateConfig, given | {key: value for key, value in chosen.items() if value}, "evaluate")
    if recipe is None or not config.heldout:
        return config, None
    from polyglossa.pipeline.find_artifacts import find_artifacts

    corpus = find_artifacts(recipe).get("corpus")
    if corpus is None:
        raise ArtifactError("the recipe's held-out sets are not made yet; run `polyglossa run RECIPE --until corpus`.")
    return config, corpus
