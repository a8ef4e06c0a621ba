"""What a worker group trains in: one decision of the run, equal on every rank and kept by a group that resumes it."""

import posixpath
from collections.abc import Sequence

from polyglossa.artifact import exists, open_storage, read_json, write_json
from polyglossa.runtime.collectives import gather_values, rank
from polyglossa.runtime.precision import DeviceFacts, Precision

FILE = "precision.json"
"""Lies beside the checkpoints."""


def settle_precision(
    requested: str, own: DeviceFacts, checkpoint_uri: str, beside: Sequence[DeviceFacts] = ()
) -> Precision:
    """Decide what all ranks compute in; the slowest device decides. A collective.

    A run that has begun in more than bfloat16 stays there when a faster group takes it up; the other way it changes to
    float32, for that is what was asked for at least.

    Args:
        requested: the recipe's precision.
        own: this rank's device.
        checkpoint_uri: where the run keeps its checkpoints.
        beside: devices of other runs that this one is compared with.
    """
    uri = posixpath.join(checkpoint_uri, FILE)
    before = Precision(**read_json(uri)) if exists(uri) else None
    # Every rank has looked before any of them is through here, so what rank 0 writes below is seen by none of them.
    devices = gather_values(own)
    precision = Precision.decide(requested, [*devices, *beside])
    if before is not None and before.dtype != "bfloat16":
        precision = before
    if rank() == 0:
        filesystem, folder = open_storage(checkpoint_uri)
        filesystem.create_dir(folder, recursive=True)
        write_json(uri, precision.plain())
    return precision
