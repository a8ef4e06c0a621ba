"""Polyglossa: a family of multilingual embedding models, from a corpus to an endpoint, on one Ray cluster.

encoder = polyglossa.Encoder.load("path/of/a/model")        # torch and transformers alone
vectors = encoder.encode(["Where is the library?"], prompt="query")
artifacts = polyglossa.run("jobs/recipes/quickstart.yaml")  # polyglossa[all]

Names are loaded when they are first used, so importing the package loads neither torch nor Ray.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polyglossa.library import load_profile, load_recipe, plan, run
    from polyglossa.model.encoder import Encoder

__version__ = "0.1.0"
__all__ = ["Encoder", "__version__", "load_profile", "load_recipe", "plan", "run"]

_HOMES = {
    "Encoder": "polyglossa.model.encoder",
    "load_profile": "polyglossa.library",
    "load_recipe": "polyglossa.library",
    "plan": "polyglossa.library",
    "run": "polyglossa.library",
}


def __getattr__(name: str) -> Any:
    """Load one of the names above from the module that it lives in.

    Raises:
        MissingExtra: what it needs is not installed; the message names the extra.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from polyglossa.extras import naming_extras

    with naming_extras():
        found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """List the names above with the module's own."""
    return sorted({*globals(), *__all__})
