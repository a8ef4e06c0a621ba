"""Protects the registry: a stage is declared once, and its folder brings what it does and what it costs."""

import subprocess
import sys
from importlib.util import find_spec
from inspect import signature
from typing import get_type_hints

import pytest

from polyglossa.costing.work import StageCost
from polyglossa.errors import RecipeError
from polyglossa.pipeline.graph import Node
from polyglossa.pipeline.stages import STAGES, find_stage, find_stage_of
from polyglossa.recipe import Profile
from polyglossa.recipe.sections.serve import ServeConfig

PURE = """
import sys
from polyglossa.pipeline.stages import STAGES
costs = [stage.cost for stage in STAGES.values()]
print({"torch", "ray", "transformers", "mteb"} & set(sys.modules) or "pure")
"""

KEYS = """
import sys
from polyglossa.pipeline.stages import STAGES
for stage in STAGES.values():
    stage.load()
print({"torch", "transformers", "deepspeed", "peft", "mteb", "bm25s"} & set(sys.modules) or "light")
"""


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.name)
def test_every_stage_has_a_module_a_cost_and_a_place_in_profiles(stage) -> None:  # type: ignore[no-untyped-def]
    assert find_spec(stage.module) is not None
    assert isinstance(stage.cost, StageCost)
    assert stage.placement_in(Profile()) is not None


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.name)
def test_a_stage_takes_the_config_that_it_declares(stage) -> None:  # type: ignore[no-untyped-def]
    run = stage.load().run
    assert get_type_hints(run)[next(iter(signature(run).parameters))] is stage.config


def test_a_node_with_another_stages_config_is_refused_by_both_names() -> None:
    with pytest.raises(TypeError, match="corpus: stage corpus takes CorpusConfig, got ServeConfig"):
        find_stage_of(Node("corpus", "corpus", ServeConfig()))


def test_costs_are_read_without_torch_and_ray() -> None:
    done = subprocess.run([sys.executable, "-c", PURE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "pure"


def test_working_out_keys_loads_no_models_code() -> None:
    done = subprocess.run([sys.executable, "-c", KEYS], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "light"


def test_a_stage_that_is_not_declared_is_an_error_that_names_those_that_are() -> None:
    with pytest.raises(RecipeError, match=r"stage embroider: not declared in pipeline/stages.py; there are .*corpus"):
        find_stage("embroider")
