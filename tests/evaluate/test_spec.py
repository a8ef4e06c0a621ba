"""A model is run as the recipe's `evaluate` section says, whoever asks for it to be judged."""

import torch

from polyglossa.artifact import Artifact
from polyglossa.embedding.state_sources import EncoderSource
from polyglossa.evaluate.models.sources import open_source
from polyglossa.evaluate.models.spec import ModelSpec, model_of
from polyglossa.recipe.sections.evaluate import EvaluateConfig


def test_precision_and_longest_text_of_the_recipe_reach_the_encoder(model: Artifact) -> None:
    config = EvaluateConfig(dtype="bfloat16", max_tokens=16)
    path = model.at("model")
    for spec in (ModelSpec.directory(config, "a/b", "1", path, instructed=False), model_of(config, model)):
        source = open_source(spec)
        assert isinstance(source, EncoderSource)
        assert source.encoder.backbone.dtype == torch.bfloat16
        assert source.max_tokens == 16
