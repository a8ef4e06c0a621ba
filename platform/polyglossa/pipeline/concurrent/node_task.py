"""What runs as a task of its own on the cluster: one node of the graph, or a few small ones of a stage together.

The run's own process holds the lease of each. All that a stage's driver needs lies here, on a machine of the stage's
group: nothing large on the head.
"""

import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from polyglossa import artifact
from polyglossa.artifact import Artifact, ArtifactKey, Draft
from polyglossa.errors import PolyglossaError
from polyglossa.extras import naming_extras
from polyglossa.pipeline.graph import Node
from polyglossa.pipeline.model_card import describe_model
from polyglossa.pipeline.stages import STAGES, Stage, find_stage_of
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
    lost: Literal["", "machine", "driver"] = ""
    """What went away while the task ran: the machine under it, or its process alone."""


def run_node(task: NodeTask, relay: Any, awake: object = None) -> Outcome:
    """Make the nodes' artifacts; what goes wrong comes back as a value.

    An interrupt ends the process, and so the actors that a stage has started: a training's worker group goes on as long
    as its driver's process is there.

    Args:
        task: what is made.
        relay: gets what is shown.
        awake: the result of a task before this one, which waited for a machine.
    """
    quieten()
    host = socket.gethostname()
    try:
        with naming_extras(), console.relay_to(relay):
            make_group(
                task.nodes, task.inputs, task.keys, task.root, task.profile,
                STAGES if task.stages is None else task.stages,
            )  # fmt: skip
        return Outcome(host, tuple(artifact.open_artifact(key.uri(task.root)) for key in task.keys))
    except Exception as error:
        return Outcome(host, error=_unwrap(error), trace=traceback.format_exc())
    except KeyboardInterrupt:
        sys.exit(0)
    finally:
        relay.close()


def _unwrap(error: Exception) -> PolyglossaError:
    """Return an error as it was raised on a worker, where Ray wraps it; one that nobody meant is told in a line."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, PolyglossaError):
        return cause
    lines = str(cause).strip().splitlines() or [""]
    return PolyglossaError(f"{type(cause).__name__}: {lines[-1][:300]} (the log has the whole story)")


def make_group(
    nodes: Sequence[Node],
    inputs: Sequence[Mapping[str, Artifact]],
    keys: Sequence[ArtifactKey],
    root: str,
    profile: Profile,
    stages: Mapping[str, Stage] = STAGES,
) -> None:
    """Make the artifacts of nodes of one stage whose leases this run holds; all of them are committed, or none."""
    with artifact.open_drafts(root, keys) as drafts:
        _run_group(nodes, inputs, drafts, profile, stages)


def _run_group(
    nodes: Sequence[Node],
    inputs: Sequence[Mapping[str, Artifact]],
    drafts: Sequence[Draft],
    profile: Profile,
    stages: Mapping[str, Stage],
) -> None:
    stage = find_stage_of(nodes[0], stages)
    module, placement = stage.load(), profile if stage.takes_profile else stage.placement_in(profile)
    if len(nodes) == 1:
        module.run(nodes[0].config, inputs[0], drafts[0], placement)
    else:
        jobs = [(node.config, roles, draft) for node, roles, draft in zip(nodes, inputs, drafts, strict=True)]
        module.run_many(jobs, placement)
    for node, roles, draft in zip(nodes, inputs, drafts, strict=True):
        if stage.makes_model:
            describe_model(draft, node.name, roles.values())
