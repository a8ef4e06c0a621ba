"""Recipes (what to make) and profiles (where), as strict models read from YAML."""

from polyglossa.recipe.load import load_profile, load_recipe
from polyglossa.recipe.models import Recipe
from polyglossa.recipe.placement import Profile, StagePlacement, TrainPlacement

__all__ = ["Profile", "Recipe", "StagePlacement", "TrainPlacement", "load_profile", "load_recipe"]
