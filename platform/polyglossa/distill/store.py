"""The rows of a teacher store: one raw state for each text of a token bundle, in the bundle's order. Pure of Ray."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from polyglossa.errors import TrainingError
from polyglossa.records import TEACHER_BUNDLE

States = NDArray[np.floating[Any]]
Embed = Callable[[Sequence[NDArray[np.uint32]]], States]
"""Token ids of texts → their states [N, width], in the precision that is stored."""


def store_schema(stored: str) -> pa.Schema:
    """Return the schema of a store's rows: TEACHER_BUNDLE, with states in the given precision."""
    at = TEACHER_BUNDLE.get_field_index("states")
    numbers = pa.float32() if stored == "float32" else pa.float16()
    return TEACHER_BUNDLE.set(at, TEACHER_BUNDLE.field(at).with_type(pa.list_(pa.list_(numbers))))


class Remembered:
    """The states used last, by text id: a text that many bundles share is embedded once."""

    def __init__(self, largest_bytes: int) -> None:
        self._largest, self._bytes = largest_bytes, 0
        self._states: OrderedDict[bytes, States] = OrderedDict()

    def __contains__(self, text_id: bytes) -> bool:
        return text_id in self._states

    def get(self, text_id: bytes) -> States:
        """Return a state that is there."""
        self._states.move_to_end(text_id)
        return self._states[text_id]

    def put(self, text_id: bytes, state: States) -> None:
        """Remember a state."""
        self._states[text_id] = state
        self._bytes += state.nbytes

    def trim(self) -> None:
        """Forget what was not used for longest, down to the allowed bytes."""
        while self._bytes > self._largest:
            self._bytes -= self._states.popitem(last=False)[1].nbytes


def teacher_bundles(
    bundles: Iterator[pa.Table], embed: Embed, *, remembered: Remembered, window_texts: int
) -> Iterator[pa.Table]:
    """Turn token bundles into teacher bundles, one for one and in order.

    Args:
        bundles: one-row TOKEN_BUNDLE tables.
        embed: the teacher; called once for each distinct text, with many at a time.
        remembered: states that are not asked for again.
        window_texts: texts that are gathered before the teacher is called.
    """
    window: list[pa.Table] = []
    texts = 0
    for bundle in bundles:
        window.append(bundle)
        texts += len(bundle.column("text_ids").chunk(0).flatten())
        if texts >= window_texts:
            yield from _finish(window, embed, remembered)
            window, texts = [], 0
    yield from _finish(window, embed, remembered)


def _finish(window: Sequence[pa.Table], embed: Embed, remembered: Remembered) -> Iterator[pa.Table]:
    missing: dict[bytes, NDArray[np.uint32]] = {}
    for bundle in window:
        tokens = bundle.column("tokens").chunk(0).flatten()
        for text_id, text in zip(_ids(bundle), tokens, strict=True):
            if text_id not in remembered and text_id not in missing:
                missing[text_id] = text.values.to_numpy()
    if missing:
        states = embed(list(missing.values()))
        if not np.isfinite(states).all():
            raise TrainingError(f"the teacher's states do not fit {states.dtype} or are not finite; check the teacher.")
        for text_id, state in zip(missing, states, strict=True):
            remembered.put(text_id, state)
    for bundle in window:
        yield teacher_bundle(bundle, np.stack([remembered.get(text_id) for text_id in _ids(bundle)]))
    remembered.trim()


def _ids(bundle: pa.Table) -> list[bytes]:
    return bundle.column("text_ids").chunk(0).flatten().to_pylist()


def teacher_bundle(bundle: pa.Table, states: States) -> pa.Table:
    """Write the states [texts, width] of a bundle as one TEACHER_BUNDLE row."""
    count, width = states.shape
    rows = pa.ListArray.from_arrays(np.arange(0, count * width + 1, width, dtype=np.int32), states.reshape(-1))
    columns = [
        bundle.column("source"),
        bundle.column("bundle"),
        bundle.column("text_ids"),
        pa.ListArray.from_arrays(pa.array([0, count], pa.int32()), rows),
    ]
    return pa.table(columns, names=TEACHER_BUNDLE.names).cast(store_schema(str(states.dtype)))
