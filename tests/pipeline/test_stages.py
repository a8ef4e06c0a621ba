"""Protects the registry: a stage is declared once, and its folder brings what it does and what it costs."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from polyglossa.costing.work import StageCost
from polyglossa.errors import RecipeError
from polyglossa.pipeline.stages import STAGES, find_stage
from polyglossa.recipe import Profile

PURE = """
import sys
from polyglossa.pipeline.stages import STAGES
costs = [stage.cost for stage in STAGES.values()]
print({"torch", "ray", "transformers", "mteb"} & set(sys.modules) or "pure")
"""


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.name)
def test_every_stage_has_a_module_a_cost_and_a_place_in_profiles(stage) -> None:  # type: ignore[no-untyped-def]
    assert find_spec(stage.module) is not None
    assert isinstance(stage.cost, StageCost)
    assert stage.placement_in(Profile()) is not None


def test_costs_are_read_without_torch_and_ray() -> None:
    done = subprocess.run([sys.executable, "-c", PURE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "pure"


def test_a_stage_that_is_not_declared_is_an_error_that_names_those_that_are() -> None:
    with pytest.raises(RecipeError, match=r"stage embroider: not declared in pipeline/stages.py; there are .*corpus"):
        find_stage("embroider")
