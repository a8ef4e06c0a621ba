"""A member in a vLLM engine on GPUs: paged, continuously batched, eight-bit floats, tensor parallel.

Runs where `polyglossa[vllm]` is installed. Before it answers, its vectors are held to the encoder's on a panel: a model
whose pooling or prompts vLLM reads in another way is refused, not served.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from polyglossa.engines.spec import EngineSpec
from polyglossa.errors import DataError
from polyglossa.export.panel import builtin_panel, compare
from polyglossa.extras import MissingExtra
from polyglossa.model.encoder import Encoder
from polyglossa.vectors import Floats

_LEAST_COSINE = {"int8": 0.97}
_LEAST_COSINE_ELSE = 0.999
_DTYPES = {"float32": "float32", "bfloat16": "bfloat16", "int8": "bfloat16", None: "bfloat16"}


class VllmEngine:
    """A vLLM engine that pools as the member's directory says; vectors come out at unit length."""

    def __init__(self, model: Any, width: int, about: dict[str, Any]) -> None:
        self._model, self._width, self.about = model, width, about

    @property
    def width(self) -> int:
        """Width of a state."""
        return self._width

    def states(self, token_ids: Sequence[Sequence[int]], task: str | None = None) -> Floats:
        """Return vectors [N, S], float32; it has no tasks."""
        prompts = [{"prompt_token_ids": list(one)} for one in token_ids]
        answers = self._model.embed(prompts, use_tqdm=False)
        return np.array([one.outputs.embedding for one in answers], np.float32)

    def slots(self, lengths: Sequence[int]) -> int:
        """Count the tokens: nothing is padded."""
        return sum(lengths)


def open_vllm(path: str, spec: EngineSpec) -> VllmEngine:
    """Start a vLLM engine over as many GPUs as the member has.

    Args:
        path: local model directory.
        spec: the engine; `dtype: int8` asks for eight-bit floats (fp8), which keep more than integers there.

    Raises:
        MissingExtra: vLLM is not installed.
        DataError: its vectors are not the encoder's.
    """
    try:
        import vllm
    except ModuleNotFoundError:
        raise MissingExtra(
            'engine: vllm needs vllm, which is not installed. Install it with: pip install "polyglossa[vllm]"'
        ) from None
    encoder = Encoder.load(path, max_tokens=spec.max_tokens)
    model = vllm.LLM(
        model=path,
        runner="pooling",
        dtype=_DTYPES[spec.dtype],
        quantization="fp8" if spec.dtype == "int8" else None,
        tensor_parallel_size=max(1, round(spec.gpus)),
        max_model_len=encoder.max_tokens,
        enforce_eager=False,
    )
    weights = "fp8" if spec.dtype == "int8" else _DTYPES[spec.dtype]
    engine = VllmEngine(model, encoder.width, {"name": "vllm", "weights": weights})
    panel = builtin_panel()
    tokens = encoder.tokenize(panel.texts)
    found = compare(encoder.states(tokens).numpy(), engine.states(tokens), panel)
    least = _LEAST_COSINE.get(spec.dtype or "", _LEAST_COSINE_ELSE)
    if not found.least_cosine >= least:
        raise DataError(
            f"{path}: vLLM's vectors have a least cosine of {found.least_cosine:.5f} to the encoder's, and {least} is "
            "asked. Serve it with engine: torch."
        )
    engine.about["least_cosine"] = round(found.least_cosine, 6)
    return engine
