"""Trains a toy model on a Ray of its own; started, and killed, by the chaos tests.

python -m train.chaos ROOT WORKERS
"""

import sys

from polyglossa.artifact import Artifact, ArtifactKey, produce
from polyglossa.recipe.placement import TrainPlacement
from polyglossa.recipe.sections.train import TrainConfig
from polyglossa.runtime.session import local_ray
from polyglossa.train import run as train
from train.toys import make_model, make_pack, stage

STEPS, SAVED = 80, 10


def produce_model(root: str, workers: int) -> Artifact:
    """Train the toy model, or go on where an interrupted training stopped; Ray is there."""
    inputs = {"model": make_model(root), "pack": make_pack(root)}
    config = TrainConfig.of(stage(steps=STEPS), distil=False)
    key = ArtifactKey("train", "toy", train.REVISION, config.model_dump(mode="json"), inputs)
    placement = TrainPlacement(workers=workers, zero=1, checkpoint_steps=SAVED)
    return produce(root, key, lambda draft: train.run(config, inputs, draft, placement))


def main() -> None:
    with local_ray(cpus=2, object_store_gib=0.2):
        produce_model(sys.argv[1], int(sys.argv[2]))


if __name__ == "__main__":
    main()
