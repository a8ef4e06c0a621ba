"""One corpus run in a process that a test may kill: `interrupted_curation.py SETTINGS.json ROOT`; prints its place."""

import json
import sys
from pathlib import Path

from polyglossa.artifact import ArtifactKey, produce
from polyglossa.corpus import run as stage
from polyglossa.recipe.load import validate
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.corpus import CorpusConfig
from polyglossa.runtime.session import local_ray


def main(settings: str, root: str) -> None:
    config = validate(CorpusConfig, json.loads(Path(settings).read_text()), "test")
    key = ArtifactKey(stage.STAGE, "corpus", stage.REVISION, config.model_dump(mode="json"))
    with local_ray(cpus=2, object_store_gib=0.2):
        made = produce(root, key, lambda draft: stage.run(config, {}, draft, StagePlacement()))
    print(made.uri)


if __name__ == "__main__":
    main(*sys.argv[1:])
