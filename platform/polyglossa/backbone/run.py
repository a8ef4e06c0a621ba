"""The backbone stage: a new Qwen3 model with a tokenizer trained on the corpus, or a model loaded by name.

Its artifact holds `model/`, a directory that stock loaders read; the untrained model that a family is measured
against is this one. This file loads neither torch nor transformers: it is read to work out the artifact's key.

    python jobs/backbone.py RECIPE         # as part of a recipe's run
"""

from collections.abc import Mapping

from polyglossa.artifact import Artifact, Draft
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.backbone import BackboneConfig

STAGE = "backbone"
REVISION = 3


def run(config: BackboneConfig, inputs: Mapping[str, Artifact], draft: Draft, placement: StagePlacement) -> None:
    """Write the model directory that members start from.

    Args:
        config: a shape and a tokenizer to train, or a model's name.
        inputs: `corpus`, whose training texts the tokenizer is trained on; or `tokenizer`, an earlier backbone whose
            tokenizer this one's must equal (a new model takes it over).
        draft: receives `model/`.
        placement: unused; one process on the driver suffices.

    Raises:
        DataError: a named model cannot be loaded, is not what the recipe says, or is shorter than the recipe's texts.
    """
    from polyglossa.backbone.make import make_backbone

    make_backbone(config, inputs, draft)
