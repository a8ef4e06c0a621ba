"""Protects the published late checkpoints and validation: which steps leave models, which widths are validated."""

from dataclasses import replace

import pytest
import torch

from engine.worlds import make_batch
from polyglossa.data.feed_spec import FeedSpec
from polyglossa.engine.checkpoints.export import late_steps
from polyglossa.engine.objective import build_objective, build_validation
from polyglossa.engine.stage_spec import ObjectiveSpec, StageSpec
from polyglossa.recipe.sections.train import ObjectiveConfig, StageConfig


def kept_by_the_script(total: int) -> list[int]:
    """F2LLM-v2's condition; the last step's model is its epoch checkpoint, and ours the run's own."""
    return [done for done in range(1, total) if done % 500 == 0 and done > total - 2500]


@pytest.mark.parametrize("total", [69_608, 10_000, 10_001, 10_499, 2_500, 2_501, 700, 400])
def test_late_checkpoints_at_multiples_are_those_of_the_script(total: int) -> None:
    assert late_steps(total, 5, 500, at="multiples") == kept_by_the_script(total)


def test_late_checkpoints_from_the_end_are_counted_back_from_the_last_step() -> None:
    assert late_steps(10_250, 5, 500) == [7_750, 8_250, 8_750, 9_250, 9_750]
    assert late_steps(700, 5, 500) == [200]


def test_validation_is_of_the_full_width_where_the_recipe_says_so() -> None:
    spec = ObjectiveSpec.of(ObjectiveConfig(matryoshka="published"))
    batch, state_TD = make_batch(0, 0, 1), torch.randn(40, 35)
    plain = build_objective(replace(spec, matryoshka="none"), width=35)(state_TD, batch)[0]
    assert build_validation(spec, width=35, full=True)(state_TD, batch)[0] == plain
    trained = build_objective(spec, width=35)(state_TD, batch)[0]
    assert build_validation(spec, width=35, full=False)(state_TD, batch)[0] == trained != plain


def test_what_a_recipe_says_of_the_published_run_reaches_the_engine_and_leaves_other_stages_as_they_were() -> None:
    said = {"schedule": "published", "source_order": "drawn", "validation_widths": "full",
            "late_checkpoints_at": "multiples", "embedding_ranks": "published"}  # fmt: skip
    for config, wanted in ((StageConfig(**said, validation_steps=5), said), (StageConfig(validation_steps=5), {})):
        spec = StageSpec.of(config)
        assert spec.validation is not None
        assert spec.schedule.kind == wanted.get("schedule", "cosine")
        assert FeedSpec.of_stage(config, "pack").settings.source_order == wanted.get("source_order", "even")
        assert spec.validation.widths == wanted.get("validation_widths", "trained")
        assert spec.late_models.at == wanted.get("late_checkpoints_at", "from_end")
        assert spec.adaptation.embedding_ranks == wanted.get("embedding_ranks", "any")
        assert {name for name in said if name in config.model_dump()} == set(wanted)
