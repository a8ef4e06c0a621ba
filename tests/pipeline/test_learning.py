"""The whole path teaches: stage 1, mining and stage 2 on a slice of the embedded corpus reach a named figure.

The figure is nDCG@10 of held-out docstrings asking for their functions. Training is seeded and float32; what varies is
the standard library that the slice is made of, and the order of sums on another CPU.
"""

from pathlib import Path

import pytest

from polyglossa.artifact import Artifact
from polyglossa.evaluate.scoring.retrieval import heldout_score
from polyglossa.evaluate.tasks.heldout import read_heldout
from polyglossa.model.encoder import Encoder
from polyglossa.pipeline.build import build
from polyglossa.pipeline.execute import execute
from polyglossa.recipe import Profile, load_recipe
from polyglossa.recipe.placement import StagePlacement, TrainPlacement

QUICKSTART = Path(__file__).parents[2] / "jobs/recipes/quickstart.yaml"
SLICE = (
    "corpus.sources=[{kind: pydoc}]",
    "corpus.max_queries=2000",
    "evaluate.heldout=[pydoc]",
    "expect=null",
    "members=[{name: base, stages: [stage1, stage2], backbone: {max_tokens: 64, tokenizer: {vocabulary: 2048}, "
    "shape: {hidden: 64, mlp: 128, layers: 1, heads: 4, kv_heads: 2, head_dim: 16}}}]",
    "training.stage1={sources: [pydoc], global_batch: 64, steps: 100, max_tokens: 64, learning_rate: 2.0e-3, "
    "warmup_steps: 5, dtype: float32}",
    "training.stage2={instructions: true, hard_negatives: true, negatives: 1, global_batch: 64, steps: 50, "
    "max_tokens: 64, learning_rate: 1.0e-3, warmup_steps: 5, dtype: float32, objective: {matryoshka: published}}",
    "mine.top_k=20",
    "mine.negatives=3",
)
ONE = StagePlacement(workers=1)
HERE = Profile(corpus=ONE, backbone=ONE, pack=ONE, mine=ONE, train=TrainPlacement(workers=0))
UNTRAINED, STAGE_1, STAGE_2, TOLERANCE = 0.021, 0.123, 0.134, 0.02


@pytest.mark.usefixtures("ray_local")
def test_two_stages_reach_their_figures_on_texts_that_neither_has_seen(tmp_path: Path) -> None:
    nodes = build(load_recipe(QUICKSTART, SLICE)).needed_for(["train.base.stage2"])
    made = execute(nodes, str(tmp_path), HERE)
    untrained, first, second = (
        score(made, name, instructed=name.endswith("stage2"))
        for name in ("backbone.base", "train.base.stage1", "train.base.stage2")
    )
    assert untrained == pytest.approx(UNTRAINED, abs=TOLERANCE)
    assert first == pytest.approx(STAGE_1, abs=TOLERANCE)
    assert second == pytest.approx(STAGE_2, abs=TOLERANCE)
    assert second > 4 * untrained


def score(made: dict[str, Artifact], name: str, *, instructed: bool) -> float:
    return heldout_score(
        read_heldout(made["corpus"], "pydoc"), Encoder.load(made[name].at("model")), instructed=instructed
    )
