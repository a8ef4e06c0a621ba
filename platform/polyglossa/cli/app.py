"""The `polyglossa` command: thin. It parses, builds, calls; a user's mistake is one line and exit code 2."""

import typer

from polyglossa.cli import cluster, prune, recipe
from polyglossa.cli.calibrate import calibrate
from polyglossa.cli.compare import compare
from polyglossa.cli.docs import docs
from polyglossa.cli.embed import embed
from polyglossa.cli.evaluate import evaluate
from polyglossa.cli.export import export, submit_mteb
from polyglossa.cli.gate import gate
from polyglossa.cli.init import init
from polyglossa.cli.plan import plan
from polyglossa.cli.run import run
from polyglossa.cli.serve import serve
from polyglossa.cli.simulate import simulate_feed
from polyglossa.cli.steps import steps

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(recipe.app, name="recipe")
app.add_typer(cluster.app, name="cluster")
app.add_typer(prune.app, name="prune")
app.command("run")(run)
app.command("serve")(serve)
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
