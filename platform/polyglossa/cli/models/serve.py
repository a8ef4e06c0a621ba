"""`polyglossa serve`: serve a recipe's finished members, or any model directories, until Ctrl-C."""

import signal
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from polyglossa.artifact import exists
from polyglossa.cli.options import Overrides, ProfileFile, recipe_path
from polyglossa.errors import DataError, UserError
from polyglossa.recipe import Recipe, load_profile, load_recipe
from polyglossa.recipe.sections.serve import ServeConfig
from polyglossa.runtime import console
from polyglossa.storage import absolute


def serve(
    recipe: Annotated[
        Path | None,
        typer.Argument(
            metavar="RECIPE", parser=recipe_path, help="Recipe file, or its name, whose finished members are served."
        ),
    ] = None,
    overrides: Overrides = None,
    profile: ProfileFile = None,
    model: Annotated[list[str] | None, typer.Option(metavar="NAME=PATH", help="A model directory.")] = None,
    engine: Annotated[
        Literal["torch", "onnx", "openvino", "vllm", "auto"] | None,
        typer.Option(help="What computes; `auto` measures those installed (default: the recipe's, or torch)."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to bind (default: the recipe's, or loopback).")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port (default: the recipe's, or 8000).")] = None,
) -> None:
    """Serve a recipe's finished members, or any model directories, until Ctrl-C."""
    from polyglossa.extras import require_extras

    require_extras(("serve",), "serve")
    given = _directories(model or ())
    config, models, logs, loaded = _find_served(recipe, overrides or (), given)
    if engine is not None:
        config = config.changed(engine=engine)
    placement = load_profile(profile)
    from polyglossa.serving.run import application_settings, check_settings

    settings = check_settings(application_settings(config, models, placement.serve))
    _check_directories(given.values())
    from polyglossa.serving.lifecycle import running_application

    log = logs / f"serve-{datetime.now():%Y%m%d-%H%M%S}.log"
    from polyglossa.runtime.session import ray_session, terminate_as_interrupt

    bound, port = host or config.host, port or config.port
    with terminate_as_interrupt(), console.open_console(log):
        console.say(f"Starting {', '.join(models)}; details in {log}")
        try:
            settings |= _own_documents(loaded, models)
            with ray_session(placement), running_application(settings, host=bound, port=port) as url:
                console.say(f"{url}/v1 answers for {', '.join(models)}. Ctrl-C stops it.")
                if "documents" in settings:
                    console.say(f"{url} searches the documents of {recipe}; for programs, POST {url}/v1/search.")
                signal.pause()
        except KeyboardInterrupt:
            console.say("Stopped.")


def _find_served(
    path: Path | None, overrides: Sequence[str], given: Mapping[str, str]
) -> tuple[ServeConfig, dict[str, str], Path, Recipe | None]:
    """Settle what is served, a recipe's members, model directories, or both; the folder of logs, and the recipe."""
    if path is None:
        if not given:
            raise UserError("nothing to serve: give a recipe, or --model NAME=PATH.")
        return ServeConfig(), dict(given), Path("runs/logs"), None
    from polyglossa.pipeline.find_artifacts import served_models
    from polyglossa.pipeline.promotion import with_promotions

    recipe = load_recipe(path, overrides)
    config, served = with_promotions(recipe, served_models(recipe))
    return config, {**served, **given}, recipe.logs, recipe


def _own_documents(recipe: Recipe | None, models: Mapping[str, str]) -> dict[str, str]:
    """Lay out the documents of a recipe by `init` for the endpoint; those that are embedded already are read."""
    if recipe is None or recipe.own is None:
        return {}
    from polyglossa.own.search import write_index

    return {"documents": write_index(models, Path(recipe.own.folder), absolute(recipe.root))}


def _directories(given: Sequence[str]) -> dict[str, str]:
    """Model directories by the names they are served under."""
    models: dict[str, str] = {}
    for text in given:
        name, _, path = text.partition("=")
        if not name or not path:
            raise UserError(f"--model {text}: write NAME=PATH, where PATH is a model directory.")
        if name in models:
            raise UserError(f"--model {text}: the name {name} is taken by {models[name]}.")
        if not exists(f"{path}/config.json"):  # told before a model's code is loaded, which takes seconds
            raise DataError(f"{path}: no model directory (it holds config.json).")
        models[name] = absolute(path)
    return models


def _check_directories(paths: Collection[str]) -> None:
    """Check each model directory before anything starts."""
    if not paths:
        return
    from polyglossa.embedding.parity import check_parity
    from polyglossa.serving.model_folder import check_model_folder

    for path in paths:
        check_model_folder(path)
        check_parity(path)
