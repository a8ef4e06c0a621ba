"""One mining run in a process that a test may kill: `interrupted_mining.py ROOT CORPUS MODEL`. Many small chunks."""

import sys

from polyglossa.artifact import ArtifactKey, open_artifact, produce
from polyglossa.embedding import actors, text_chunks
from polyglossa.mine import prepare
from polyglossa.mine import run as stage
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.mine import MineConfig
from polyglossa.runtime.session import local_ray


def main(root: str, corpus_uri: str, model: str) -> None:
    text_chunks.CHUNK_BYTES = 512
    actors.LITTLE_BYTES = 0
    prepare._ROWS_PER_TASK = 16
    corpus = open_artifact(corpus_uri)
    config = MineConfig(model=model, pool="language", top_k=20, negatives=3, relative_margin=1.0)
    key = ArtifactKey("mine", "mine", 1, config.model_dump(mode="json"), {"corpus": corpus})
    with local_ray(cpus=2, object_store_gib=0.2):
        produce(root, key, lambda draft: stage.run(config, {"corpus": corpus}, draft, StagePlacement(workers=1)))


if __name__ == "__main__":
    main(*sys.argv[1:])
