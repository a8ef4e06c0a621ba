"""The actor that tells a run's process what shapes nodes' artifacts: it loads stages' modules, and so torch, for it."""

from collections.abc import Mapping, Sequence

from polyglossa import artifact
from polyglossa.artifact import Artifact, ArtifactKey
from polyglossa.errors import PolyglossaError
from polyglossa.pipeline.execute import key_of
from polyglossa.pipeline.graph import Node


class KeyServer:
    """Tells what shapes nodes' artifacts and whether they are there."""

    def __init__(self, root: str) -> None:
        self._root = root

    def resolve(
        self, node: Node, inputs: Mapping[str, Artifact]
    ) -> tuple[ArtifactKey | None, Artifact | None, PolyglossaError | None]:
        """Return a node's key, and its artifact where it is there; or why there is no key."""
        try:
            key = key_of(node, inputs)
            return key, artifact.find_finished(self._root, key), None
        except PolyglossaError as error:
            return None, None, error


def missing_inputs(inputs: Sequence[Mapping[str, Artifact]]) -> list[str]:
    """Addresses of inputs that are no longer committed."""
    every = {one.uri for roles in inputs for one in roles.values()}
    return sorted(uri for uri in every if not artifact.exists(f"{uri}/{artifact.MARKER}"))
