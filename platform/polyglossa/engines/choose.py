"""Open the engine that a spec names; `auto` measures those installed and takes the fastest that agrees."""

import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec

import numpy as np

from polyglossa.engines.engine import Engine, TorchEngine, open_exported
from polyglossa.engines.spec import EngineSpec
from polyglossa.errors import UserError
from polyglossa.export.panel import builtin_panel, compare
from polyglossa.model.adapter_files import adapter_folder, adapter_tasks
from polyglossa.model.encoder import Encoder
from polyglossa.vectors import Floats

LEAST_COSINE = 0.999
"""Least cosine to the encoder, over the panel, of an engine that `auto` may take."""
_ROUNDS = 3
_TIMED_TEXTS = 24


def open_engine(path: str, spec: EngineSpec) -> Engine:
    """Open the engine of a member.

    Args:
        path: local model directory.
        spec: the engine.

    Raises:
        UserError: a package that the engine needs is not installed, or the engine cannot run this model.
    """
    tasks = adapter_tasks(path)
    if tasks and (spec.engine not in ("torch", "auto") or spec.dtype == "int8"):
        what = f"engine: {spec.engine}" if spec.engine not in ("torch", "auto") else "dtype: int8"
        raise UserError(
            f"{path}: {what} computes no adapters, and the model has some ({', '.join(tasks)}). Take engine: torch in "
            "float32 or bfloat16, or serve each task's own model (the training's `model/`)."
        )
    if spec.engine == "vllm":
        from polyglossa.engines.vllm import open_vllm

        return open_vllm(path, spec)
    if spec.engine == "endpoint":
        from polyglossa.engines.upstream import open_upstream

        return open_upstream(path, spec)
    if spec.engine in ("onnx", "openvino"):
        return open_exported(path, spec.engine, spec.dtype or "float32")
    own = _open_torch(path, spec, tasks)
    return fastest(path, own, spec) if spec.engine == "auto" and not (spec.gpus or tasks) else own


def _open_torch(path: str, spec: EngineSpec, tasks: Sequence[str]) -> TorchEngine:
    dtype, device = spec.dtype or "float32", "cuda" if spec.gpus else "cpu"
    encoder = Encoder.load(path, dtype=dtype, device=device, max_tokens=spec.max_tokens)
    adapters = {task: adapter_folder(path, task) for task in tasks}
    return TorchEngine(encoder, dtype=dtype, on_gpu=bool(spec.gpus), adapters=adapters)


def fastest(path: str, own: TorchEngine, spec: EngineSpec) -> Engine:
    """Measure every engine that is installed, one text a call, and return the fastest that agrees with the encoder.

    Engines that are missing, or that refuse the model, are told beside the figures with the reason.
    """
    encoder = Encoder.load(path, max_tokens=spec.max_tokens)
    panel = builtin_panel()
    tokens = encoder.tokenize(panel.texts)
    wanted = encoder.states(tokens).numpy()
    found: dict[str, Engine] = {"torch": own}
    left_out: dict[str, str] = {}
    for name in ("onnx", "openvino"):
        if find_spec({"onnx": "onnxruntime"}.get(name, name)) is None:
            left_out[name] = f'not installed: pip install "polyglossa[{name}]"'
            continue
        try:
            found[name] = open_exported(path, name, "int8" if spec.dtype == "int8" else "float32")
        except UserError as refusal:
            left_out[name] = " ".join(str(refusal).split())[:300]
    agreeing, milliseconds = choose(found, tokens, wanted, lambda got: compare(wanted, got, panel).least_cosine)
    left_out |= {name: reason for name, reason in agreeing.items() if reason}
    best = min(milliseconds, key=lambda name: milliseconds[name])
    engine = found[best]
    engine.about |= {"milliseconds_a_text": milliseconds, "left_out": left_out}
    return engine


def choose(
    engines: Mapping[str, Engine],
    tokens: Sequence[Sequence[int]],
    wanted_NS: Floats,
    cosine: Callable[[Floats], float],
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[dict[str, str], dict[str, float]]:
    """Hold engines to the encoder and time those that agree.

    Args:
        engines: by name; `torch` is there and always agrees: it is what the member's dtype asks for.
        tokens: of the panel's texts.
        wanted_NS: the encoder's states of them.
        cosine: least cosine of states to those.
        clock: seconds; tests pass their own.

    Returns:
        Why an engine is left out, or "" where it agrees; milliseconds a text of those that agree.
    """
    reasons: dict[str, str] = {}
    milliseconds: dict[str, float] = {}
    for name, engine in engines.items():
        least = cosine(np.concatenate([engine.states([one]) for one in tokens]).reshape(wanted_NS.shape))
        engine.about["least_cosine"] = round(least, 6)
        agrees = name == "torch" or least >= LEAST_COSINE
        reasons[name] = "" if agrees else f"least cosine {least:.5f} is below {LEAST_COSINE}"
        if agrees:
            milliseconds[name] = round(1000 * _seconds(engine, tokens[:_TIMED_TEXTS], clock), 3)
    return reasons, milliseconds


def _seconds(engine: Engine, tokens: Sequence[Sequence[int]], clock: Callable[[], float]) -> float:
    """Seconds a text, one at a time: the best of a few rounds, as other work only makes it slower."""
    best = float("inf")
    for _ in range(_ROUNDS):
        started = clock()
        for one in tokens:
            engine.states([one])
        best = min(best, (clock() - started) / len(tokens))
    return best
