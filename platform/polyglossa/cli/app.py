"""The `polyglossa` command: thin. It parses, builds, calls; a user's mistake is one line and exit code 2."""

import typer

from polyglossa.cli import cluster
from polyglossa.cli.costs.calibrate import calibrate
from polyglossa.cli.costs.plan import plan
from polyglossa.cli.costs.simulate import simulate_feed
from polyglossa.cli.evaluations.compare import compare
from polyglossa.cli.evaluations.evaluate import evaluate
from polyglossa.cli.evaluations.gate import gate
from polyglossa.cli.evaluations.submit_mteb import submit_mteb
from polyglossa.cli.models import prune
from polyglossa.cli.models.embed import embed
from polyglossa.cli.models.export import export
from polyglossa.cli.models.run import run
from polyglossa.cli.models.search import search
from polyglossa.cli.models.serve import serve
from polyglossa.cli.recipes import check
from polyglossa.cli.recipes.docs import docs
from polyglossa.cli.recipes.init import init
from polyglossa.cli.recipes.steps import steps

_HELP = "Train, judge and serve a family of text-embedding models. A mistake of yours is one line and exit code 2."

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=_HELP)
app.add_typer(check.app, name="recipe")
app.add_typer(cluster.app, name="cluster")
app.add_typer(prune.app, name="prune")
app.command("run")(run)
app.command("serve")(serve)
app.command("search")(search)
app.command("steps")(steps)
app.command("plan")(plan)
app.command("init")(init)
app.command("calibrate")(calibrate)
app.command("simulate")(simulate_feed)
app.command("docs")(docs)
app.command("evaluate")(evaluate)
app.command("compare")(compare)
app.command("gate")(gate)
app.command("export")(export)
app.command("submit-mteb")(submit_mteb)
app.command("embed")(embed)
