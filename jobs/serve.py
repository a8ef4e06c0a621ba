"""Serve a recipe's finished members, or any model directories, until Ctrl-C.

python jobs/serve.py jobs/recipes/quickstart.yaml
python jobs/serve.py --model small=path/of/model [--model …] [--port 8000]
"""

import argparse
import signal
from datetime import datetime
from pathlib import Path

from polyglossa.cli.command import errors_in_one_line, load_profile
from polyglossa.errors import UserError
from polyglossa.recipe import load_recipe
from polyglossa.recipe.sections.serve import ServeConfig
from polyglossa.runtime import console
from polyglossa.storage import absolute


def main(argv: list[str] | None = None) -> None:
    """Start the endpoint and wait."""
    options = _options(argv)
    with errors_in_one_line("serve.py"):
        config, models, logs = _what(options)
        profile = load_profile(options.profile)
        from polyglossa.serving.lifecycle import running_application
        from polyglossa.serving.run import application_settings, check_settings

        settings = check_settings(application_settings(config, models, profile.serve))
        log = logs / f"serve-{datetime.now():%Y%m%d-%H%M%S}.log"
        from polyglossa.runtime.session import ray_session, terminate_as_interrupt

        host, port = options.host or config.host, options.port or config.port
        with terminate_as_interrupt(), console.open_console(log):
            console.say(f"Starting {', '.join(models)}; details in {log}")
            try:
                with ray_session(profile), running_application(settings, host=host, port=port) as url:
                    console.say(f"{url}/v1 answers for {', '.join(models)}. Ctrl-C stops it.")
                    signal.pause()
            except KeyboardInterrupt:
                console.say("Stopped.")


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, nargs="?", help="recipe file whose finished members are served")
    parser.add_argument("--set", action="append", default=[], metavar="A.B.C=VALUE", help="override one value")
    parser.add_argument("--profile", type=Path, help="placement profile (YAML); default: local")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=PATH", help="a model directory")
    parser.add_argument("--host", help="address to bind (default: the recipe's, or loopback)")
    parser.add_argument("--port", type=int, help="port (default: the recipe's, or 8000)")
    return parser.parse_args(argv)


def _what(options: argparse.Namespace) -> tuple[ServeConfig, dict[str, str], Path]:
    """Settle what is served, a recipe's members, model directories, or both; and the folder of logs."""
    models = _directories(options.model)
    if options.recipe is None:
        if not models:
            raise UserError("nothing to serve: give a recipe, or --model NAME=PATH.")
        return ServeConfig(), models, Path("runs/logs")
    from polyglossa.pipeline.find_artifacts import served_models
    from polyglossa.pipeline.promotion import with_promotions

    recipe = load_recipe(options.recipe, options.set)
    config, served = with_promotions(recipe, served_models(recipe))
    return config, {**served, **models}, recipe.logs


def _directories(given: list[str]) -> dict[str, str]:
    """Model directories by the names they are served under, each checked before anything starts."""
    from polyglossa.embedding.parity import check_parity
    from polyglossa.serving.model_folder import check_model_folder

    models: dict[str, str] = {}
    for text in given:
        name, _, path = text.partition("=")
        if not name or not path:
            raise UserError(f"--model {text}: write NAME=PATH, where PATH is a model directory.")
        if name in models:
            raise UserError(f"--model {text}: the name {name} is taken by {models[name]}.")
        check_model_folder(path)
        check_parity(path)
        models[name] = absolute(path)
    return models


if __name__ == "__main__":
    main()
