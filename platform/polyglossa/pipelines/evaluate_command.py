"""`polyglossa evaluate`, `polyglossa compare`, `polyglossa gate`: judge any model, hold two together, promote one."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from polyglossa import progress
from polyglossa.artifact import Artifact, open_artifact
from polyglossa.errors import ArtifactError, DataError, UserError
from polyglossa.folders import absolute
from polyglossa.pipelines.command import load_profile
from polyglossa.recipe import Recipe, load_recipe
from polyglossa.recipe.evaluate import EvaluateConfig
from polyglossa.recipe.load import validate

Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="A.B.C=VALUE", help="Override one value.")]
_Recipe = Annotated[Path | None, typer.Option("--recipe", help="Recipe whose `evaluate` section says which tasks.")]


def evaluate(
    model: Annotated[str, typer.Argument(help="Model directory, artifact, or base URL of an endpoint (…/v1).")],
    recipe: _Recipe = None,
    task: Annotated[list[str] | None, typer.Option(help="mteb task, by name; repeat for more.")] = None,
    benchmark: Annotated[list[str] | None, typer.Option(help="mteb benchmark or preset, by name.")] = None,
    language: Annotated[list[str] | None, typer.Option(help="Only these languages of them (ISO 639-3).")] = None,
    name: Annotated[str | None, typer.Option(help="How results call it; of an endpoint, the model it serves.")] = None,
    instructed: Annotated[bool, typer.Option(help="Give queries instructions though the model pins none.")] = False,
    key_variable: Annotated[str, typer.Option(help="Environment variable with the endpoint's key.")] = "OPENAI_API_KEY",
    timeout: Annotated[float, typer.Option(help="Seconds that the endpoint may take to answer.")] = 60.0,
    out: Annotated[str, typer.Option(help="Storage root of results, vectors and verdicts.")] = "runs/evaluations",
    overrides: Overrides = None,
    profile: Annotated[Path | None, typer.Option(help="Placement profile (YAML); default: local.")] = None,
) -> None:
    """Judge a model by mteb tasks, benchmarks, or the tasks of a recipe; what was judged before is not judged again."""
    loaded = load_recipe(recipe, overrides or ()) if recipe is not None else None
    config, corpus = _tasks(loaded, task or [], benchmark or [], language or [])
    placement = load_profile(profile)
    from polyglossa.pipelines.judging import judge, spec_of, summary_table
    from polyglossa.pipelines.session import ray_session

    options = {"key_variable": key_variable, "timeout_seconds": timeout}
    spec = spec_of(model, config, name=name, instructed=instructed, options=options)
    log = Path("runs/evaluations" if "://" in out else out) / "logs" / f"{datetime.now():%Y%m%d-%H%M%S}.log"
    with progress.console(log), ray_session(placement):
        progress.say(f"{spec.name}: judged under {out}; details in {log}")
        done = judge(spec, config, corpus, absolute(out), placement.evaluate)
    console = Console()
    console.print(summary_table(done.read_json("summary.json")))
    console.print(f"results: {done.uri}", soft_wrap=True)


def _tasks(
    recipe: Recipe | None, tasks: list[str], benchmarks: list[str], languages: list[str]
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
    config = validate(EvaluateConfig, given | {key: value for key, value in named.items() if value}, "evaluate")
    if recipe is None or not config.heldout:
        return config, None
    from polyglossa.pipelines.made import finished

    corpus = finished(recipe).get("corpus")
    if corpus is None:
        raise ArtifactError("the recipe's held-out sets are not made yet; run `polyglossa run RECIPE --until corpus`.")
    return config, corpus


def compare(
    first: Annotated[str, typer.Argument(help="Evaluation: its artifact, or with --recipe a member.")],
    second: Annotated[str, typer.Argument(help="Evaluation that it is held against.")],
    recipe: Annotated[Path | None, typer.Option("--recipe", help="Recipe whose members are compared.")] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples of each paired test.")] = 2000,
    overrides: Overrides = None,
) -> None:
    """Show wins, losses and regressions of one evaluation against another: by task, language and type."""
    from polyglossa.evaluate.compare import compare as held_together
    from polyglossa.evaluate.compare import comparison_table

    loaded = load_recipe(recipe, overrides or ()) if recipe is not None else None
    one, other = (_evaluation(label, loaded) for label in (first, second))
    Console().print(comparison_table(held_together(one, other, resamples=resamples)))


def _evaluation(label: str, recipe: Recipe | None) -> Artifact:
    """An evaluation by its address, or of a member of a recipe.

    Raises:
        DataError: the recipe has no evaluation of that name.
    """
    if recipe is None:
        return open_artifact(label)
    from polyglossa.pipelines.made import finished

    found = {
        name.removeprefix("evaluate."): one for name, one in finished(recipe).items() if name.startswith("evaluate.")
    }
    if label not in found:
        raise DataError(f"{label}: not evaluated; there is {', '.join(found) or 'nothing yet'}.")
    return found[label]


def gate(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe file (YAML).")],
    alias: Annotated[
        list[str] | None, typer.Option(metavar="ALIAS=MEMBER", help="What moves where; default: `serve.aliases`.")
    ] = None,
    check: Annotated[bool, typer.Option(help="Only check; move nothing.")] = False,
    overrides: Overrides = None,
) -> None:
    """Move aliases to their members where the recipe's gate holds; exit code 1 where it does not."""
    from polyglossa.pipelines.promotion import promote

    loaded = load_recipe(recipe, overrides or ())
    wanted = dict(_alias(text) for text in alias or ()) or dict(loaded.serve.aliases)
    if not wanted:
        raise UserError("gate: the recipe has no `serve.aliases`; give --alias ALIAS=MEMBER.")
    held = []
    for name, member in wanted.items():
        held.append(_promoted(name, member, promote(loaded, name, member, move=not check).reasons))
    if not all(held):
        raise typer.Exit(1)


def _promoted(alias: str, member: str, reasons: Sequence[str]) -> bool:
    typer.echo(f"{alias} → {member}: {'the gate holds' if not reasons else 'stays where it is'}")
    for reason in reasons:
        typer.echo(f"  {reason}")
    return not reasons


def _alias(text: str) -> tuple[str, str]:
    alias, _, member = text.partition("=")
    if not alias or not member:
        raise UserError(f"--alias {text}: write ALIAS=MEMBER.")
    return alias, member
