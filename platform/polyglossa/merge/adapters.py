"""Put the adapters that trainings ended with beside the weights that all of them add to: one model, several tasks.

Copies files alone; loads no model.
"""

import posixpath
from collections.abc import Mapping

from polyglossa.artifact import Artifact, Draft, exists
from polyglossa.errors import ArtifactError
from polyglossa.model.adapter_files import CONFIG, FOLDER
from polyglossa.recipe import StagePlacement
from polyglossa.recipe.sections.members import AdaptersConfig
from polyglossa.storage import copy_folder

STAGE = "adapters"
REVISION = 1


def run(config: AdaptersConfig, inputs: Mapping[str, Artifact], draft: Draft, placement: StagePlacement) -> None:
    """Write `model/`: the directory that the trainings started from, and `adapters/<task>/` in it.

    Args:
        config: the tasks.
        inputs: `model`, and `adapter:<task>` for each task: a training with `lora` that started from it.
        draft: takes the model.
        placement: not used.

    Raises:
        ArtifactError: a training has kept no adapter.
    """
    model = draft.at("model")
    copy_folder(inputs["model"].at("model"), model)
    for task in config.tasks:
        source = inputs[f"adapter:{task}"].at("adapter")
        if not exists(posixpath.join(source, CONFIG)):
            raise ArtifactError(
                f"{source}: no adapter is here: the training was made before adapters were kept. Remove the artifact, "
                "and the same command makes it again."
            )
        copy_folder(source, posixpath.join(model, FOLDER, task))
    draft.count(tasks=len(config.tasks))
