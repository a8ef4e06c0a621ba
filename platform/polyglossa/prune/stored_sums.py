"""Activation sums in storage: one pass over a parent serves every student that is cut out of it.

They lie beside the artifacts, at `<root>/importance/`, under a hash of what was measured on what.
"""

import posixpath
from collections.abc import Callable

import numpy as np
from safetensors.numpy import load, save

from polyglossa.artifact import Artifact, exists, open_storage, placed_file
from polyglossa.prune.importance import ActivationSums
from polyglossa.records import row_id

_TOKENS, _MOMENTS, _TURNING = "tokens", "moments/", "turning/"


def sums_uri(draft_uri: str, model: Artifact, pack: Artifact, rows: int, seed: int) -> str:
    """Say where the sums of a parent on a sample of a pack lie, given any draft of the run."""
    root = draft_uri.rpartition("/artifacts/")[0] or draft_uri
    key = row_id(model.hash, pack.hash, str(rows), str(seed)).hex()
    return posixpath.join(root, "importance", f"{key}.safetensors")


def measure_once(uri: str, measure: Callable[[], ActivationSums]) -> ActivationSums:
    """Read sums that an earlier student's pass left, or measure and leave them."""
    if exists(uri):
        return _read(uri)
    sums = measure()
    _write(uri, sums)
    return sums


def _write(uri: str, sums: ActivationSums) -> None:
    arrays = {_TOKENS: np.array(sums.tokens, dtype=np.int64)}
    arrays |= {f"{_MOMENTS}{site}": np.ascontiguousarray(moments_3C) for site, moments_3C in sums.moments.items()}
    arrays |= {f"{_TURNING}{layer}": np.array(turned) for layer, turned in sums.turning.items()}
    with placed_file(uri) as stream:
        stream.write(save(arrays))


def _read(uri: str) -> ActivationSums:
    filesystem, path = open_storage(uri)
    with filesystem.open_input_file(path) as stream:
        arrays = load(stream.read())
    return ActivationSums(
        int(arrays[_TOKENS]),
        {name.removeprefix(_MOMENTS): array for name, array in arrays.items() if name.startswith(_MOMENTS)},
        {name.removeprefix(_TURNING): float(array) for name, array in arrays.items() if name.startswith(_TURNING)},
    )
