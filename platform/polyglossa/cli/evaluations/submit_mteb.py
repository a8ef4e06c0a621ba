"""`polyglossa submit-mteb`: an evaluation as MTEB's leaderboard takes it."""

from typing import Annotated

import typer


def submit_mteb(
    evaluation: Annotated[str, typer.Argument(help="Evaluation: an artifact that `polyglossa evaluate` wrote.")],
    name: Annotated[str, typer.Option(help="The model on the hub: ORGANISATION/MODEL.")],
    revision: Annotated[str, typer.Option(help="The hub's commit of the judged model: 40 hex digits.")],
    out: Annotated[str, typer.Option(help="Checkout of the leaderboard's results repository, or a new folder.")],
) -> None:
    """Prepare an evaluation for MTEB's leaderboard, and load it with mteb's own loader."""
    from polyglossa.extras import require_extras

    require_extras(("evaluate",), "submit-mteb")
    from polyglossa.evaluate.submission import prepare_submission

    done = prepare_submission(evaluation, out, name=name, revision=revision)
    for task, reason in done.left_out.items():
        typer.echo(f"left out: {task} ({reason})")
    typer.echo(f"{done.folder}: {len(done.tasks)} tasks, loaded by mteb. Open a pull request with this folder.")
