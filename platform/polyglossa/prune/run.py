"""The prune stage: measure the parent on calibration texts, plan, cut, write a model directory.

This file loads neither torch nor transformers: it is read to work out the artifact's key.

    python jobs/prune.py RECIPE            # as part of a recipe's run
"""

from collections.abc import Mapping

from polyglossa.artifact import Artifact, Draft
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.prune import PruneStage

STAGE = "prune"
REVISION = 2


def run(config: PruneStage, inputs: Mapping[str, Artifact], draft: Draft, placement: StagePlacement) -> None:
    """Prune a model.

    Writes `model/` (a stock model directory), `plan.json` (what of the parent stayed) and, where the vocabulary
    shrinks, `vocabulary.json` (what that costs each language).

    Args:
        config: sizes and rules.
        inputs: "model" (the parent), "pack" (calibration) and, for a smaller vocabulary, "corpus".
        draft: where it is written.
        placement: workers of the pass and their resources.

    Raises:
        UserError: the target is larger than the parent, or nothing is left of it.
    """
    from polyglossa.prune.pruning import prune

    prune(config, inputs, draft, placement)
