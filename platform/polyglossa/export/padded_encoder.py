"""Run an exported graph over tokens: what the panel, the benchmark and a served member ask of it.

States come out as the encoder gives them. Texts are padded to the longest of a pass; passes hold texts of like length.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from polyglossa.errors import DataError
from polyglossa.extras import require_extras
from polyglossa.model.pass_plan import cut_passes
from polyglossa.vectors import Floats

Run = Callable[[np.ndarray, np.ndarray], Floats]
"""ids_BL, mask_BL (int64) → raw states [B, S]."""
_ISA_LIMIT = "ONEDNN_MAX_CPU_ISA"
_MOST_PADDED = 1.25
"""Most token slots of a pass over its tokens; what would pad more is a pass of its own."""


class States(Protocol):
    """Anything that embeds tokens."""

    @property
    def width(self) -> int:
        """Width of a state."""

    def states(self, token_ids: Sequence[Sequence[int]], *, chunk_tokens: int = 2048) -> Floats:
        """Return raw states [N, S], float32; zero for a text of no tokens."""


class PaddedEncoder:
    """A graph that takes padded texts.

    Args:
        run: the graph; it is asked once for the width of its states, which its file may leave open.
        padding: token id of padding.
    """

    def __init__(self, run: Run, *, padding: int = 0) -> None:
        self._run, self._padding = run, padding
        self._width = int(run(*pad([[padding]], padding)).shape[1])

    @property
    def width(self) -> int:
        """Width of a state."""
        return self._width

    def states(self, token_ids: Sequence[Sequence[int]], *, chunk_tokens: int = 2048) -> Floats:
        """Return raw states [N, S], float32; zero for a text of no tokens."""
        state_NS = np.zeros((len(token_ids), self._width), np.float32)
        written = [index for index, tokens in enumerate(token_ids) if len(tokens)]
        lengths = [len(token_ids[index]) for index in written]
        for rows in padded_passes(lengths, chunk_tokens):
            texts = [written[row] for row in rows]
            state_BS = self._run(*pad([token_ids[index] for index in texts], self._padding))
            if len(state_BS) != len(texts):
                raise DataError(
                    f"the exported graph gave {len(state_BS)} states for {len(texts)} texts: its runtime does not "
                    "compute it on this processor. Take another engine or format."
                )
            state_NS[texts] = state_BS
        return state_NS


def padded_passes(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Cut texts into passes of like length: neighbours share one while padding stays below a quarter."""
    passes: list[list[int]] = []
    for rows in cut_passes(lengths, budget):
        longest, filled, current = 0, 0, list[int]()
        for row in rows:  # longest first
            if current and longest * (len(current) + 1) > _MOST_PADDED * (filled + lengths[row]):
                passes.append(current)
                filled, current = 0, []
            longest = longest if current else lengths[row]
            current.append(row)
            filled += lengths[row]
        passes.append(current)
    return [rows for rows in passes if rows]


def pad(texts: Sequence[Sequence[int]], padding: int) -> tuple[np.ndarray, np.ndarray]:
    """Pad texts on the right: ids and mask [B, L], int64."""
    longest = max(map(len, texts))
    ids_BL = np.full((len(texts), longest), padding, np.int64)
    mask_BL = np.zeros((len(texts), longest), np.int64)
    for row, tokens in enumerate(texts):
        ids_BL[row, : len(tokens)] = tokens
        mask_BL[row, : len(tokens)] = 1
    return ids_BL, mask_BL


def open_onnx(file: Path, *, threads: int = 1, padding: int = 0) -> PaddedEncoder:
    """Load an ONNX file that `write_onnx` or a quantiser wrote.

    Raises:
        MissingExtra: ONNX Runtime is not installed.
    """
    require_extras(("onnx",), "the ONNX engine")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def run(ids_BL: np.ndarray, mask_BL: np.ndarray) -> Floats:
        state_BS: Floats = session.run(["state"], {"input_ids": ids_BL, "attention_mask": mask_BL})[0]
        return state_BS

    return PaddedEncoder(run, padding=padding)


@contextmanager
def _without_isa_limit() -> Iterator[None]:
    """Hide oneDNN's limit on instructions: OpenVINO brings a oneDNN of its own, which answers nothing below one."""
    limit = os.environ.pop(_ISA_LIMIT, None)
    try:
        yield
    finally:
        if limit is not None:
            os.environ[_ISA_LIMIT] = limit


def open_openvino(file: Path, *, threads: int = 1, padding: int = 0) -> PaddedEncoder:
    """Load an OpenVINO file that `write_openvino` wrote.

    Raises:
        MissingExtra: OpenVINO is not installed.
    """
    require_extras(("openvino",), "the OpenVINO engine")
    os.environ.setdefault("OPENVINO_TELEMETRY_OPT_OUT", "1")
    import openvino

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": str(threads), "INFERENCE_PRECISION_HINT": "f32"}
    with _without_isa_limit():
        compiled = openvino.Core().compile_model(file, "CPU", settings)
    port = compiled.output("state")

    def run(ids_BL: np.ndarray, mask_BL: np.ndarray) -> Floats:
        # A request a call: passes of a served member run side by side.
        answer = compiled.create_infer_request().infer({"input_ids": ids_BL, "attention_mask": mask_BL})
        return np.array(answer[port], np.float32)

    return PaddedEncoder(run, padding=padding)
