"""What runs as a task of its own on the cluster: one node of the graph, or a few small ones of a stage together.

The run's own process holds the lease of each. All that a stage's driver needs lies here, on a machine of the stage's
group: nothing large on the head. `KeyServer` does what needs stages' modules, and so torch, for the run's process.
"""

import socket
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polyglossa import artifact
from polyglossa.artifact import Artifact, ArtifactKey
from polyglossa.errors import PolyglossaError
from polyglossa.pipeline.execute import key_of, make_group
from polyglossa.pipeline.graph import Node
from polyglossa.pipeline.stages import STAGES, Stage
from polyglossa.recipe import Profile
from polyglossa.runtime import console
from polyglossa.runtime.session import quieten


@dataclass(frozen=True)
class NodeTask:
    """Nodes of one stage with all that makes them."""

    nodes: tuple[Node, ...]
    inputs: tuple[Mapping[str, Artifact], ...]
    keys: tuple[ArtifactKey, ...]
    root: str
    profile: Profile
    stages: Mapping[str, Stage] | None
    """A registry of toys; None is the real one."""


@dataclass(frozen=True)
class Outcome:
    """How a task ended."""

    host: str
    artifacts: tuple[Artifact, ...] = ()
    error: PolyglossaError | None = None
    """What was raised on purpose, or stands for what was not."""
    trace: str = ""
    """The whole story, for the log."""
    lost: bool = False
    """Whether the driver went with its machine."""


def run_node(task: NodeTask, relay: Any, awake: object = None) -> Outcome:
    """Make the nodes' artifacts; what goes wrong comes back as a value, and an interrupt as itself.

    Args:
        task: what is made.
        relay: gets what is shown.
        awake: the result of a task before this one, which waited for a machine.
    """
    quieten()
    host = socket.gethostname()
    try:
        with console.relay_to(relay):
            make_group(
                task.nodes, task.inputs, task.keys, task.root, task.profile,
                STAGES if task.stages is None else task.stages,
            )  # fmt: skip
        return Outcome(host, tuple(artifact.open_artifact(key.uri(task.root)) for key in task.keys))
    except PolyglossaError as error:
        return Outcome(host, error=error, trace=traceback.format_exc())
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        told = PolyglossaError(f"{type(error).__name__}: {lines[-1][:300]} (the log has the whole story)")
        return Outcome(host, error=told, trace=traceback.format_exc())
    finally:
        relay.close()


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
            return key, artifact.find(self._root, key), None
        except PolyglossaError as error:
            return None, None, error


def missing_inputs(inputs: Sequence[Mapping[str, Artifact]]) -> list[str]:
    """Addresses of inputs that are no longer committed."""
    every = {one.uri for roles in inputs for one in roles.values()}
    return sorted(uri for uri in every if not artifact.exists(f"{uri}/{artifact.MARKER}"))
