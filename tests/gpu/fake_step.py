"""Runs training steps on a CUDA device that exists in name only, and prints what it saw as JSON.

    LD_PRELOAD=fake_cuda.so python -m gpu.fake_step

Tensors have shapes, types and devices and no values: what is computed where, and what the host waits for, follow from
those. Started by `test_step.py`.
"""

import json
import traceback
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers.modeling_layers import GradientCheckpointingLayer

from engine.worlds import WIDTH, make_batch, make_model, settings
from polyglossa.data.batch import RankBatch
from polyglossa.engine.backends.plain import PlainBackend
from polyglossa.engine.embedder import Embedder
from polyglossa.engine.objective import build_objective
from polyglossa.engine.stage_spec import ObjectiveSpec
from polyglossa.engine.step import Budget, Objective, run_step
from polyglossa.model.forward import TextModel
from polyglossa.recipe.sections.train import ObjectiveConfig

DEVICE = "cuda:0"
_OURS = str(Path(__file__).parents[2] / "platform")
_DATA_DEPENDENT = ("nonzero", "masked_select", "unique", "_unique2", "unique_consecutive", "unique_dim")


class Recorder(TorchDispatchMode):
    """Notes what operators read, where, and what the host would wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.mixed: list[str] = []
        self.kernels: Counter[str] = Counter()
        self.kernel_types: set[str] = set()
        self.pinned: dict[int, Tensor] = {}
        self.lists: list[str] = []
        self.inside = 0
        self.peak = 0
        self._held: dict[int, int] = {}

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        options = options or {}
        name = function.name().partition("::")[2].partition(".")[0]
        tensors = [leaf for leaf in tree_leaves((arguments, options)) if isinstance(leaf, Tensor)]
        if name == "_local_scalar_dense" and isinstance(tensors[0], FakeTensor):
            self._wait(name, tensors[0])
            return 0.5 if tensors[0].is_floating_point() else 0
        real = tensors and not any(isinstance(tensor, FakeTensor) for tensor in tensors)
        if real and torch.device(options.get("device") or "cpu").type == "cpu":
            with no_dispatch():  # on the host values are there, and nobody waits for them
                return function(*arguments, **options)
        if name in _DATA_DEPENDENT:
            self._wait(name, tensors[0])
        if name == "_to_copy" and options.get("device") is not None:
            self._copied(tensors[0], torch.device(options["device"]), bool(options.get("non_blocking")))
        kinds = {tensor.device.type for tensor in tensors if tensor.dim()}
        if len(kinds) > 1 and name not in ("_to_copy", "copy_"):
            self.mixed.append(f"{name} {_place()}")
        if "varlen_attn" in name:
            self.kernels[name] += 1
            self.kernel_types |= {str(tensor.dtype) for tensor in tensors if tensor.dim() == 3}
        made = function(*arguments, **options)
        for tensor in tree_leaves(made):
            if isinstance(tensor, FakeTensor) and tensor.is_cuda:
                self._hold(tensor.untyped_storage())
        return made

    def _hold(self, storage: torch.UntypedStorage) -> None:
        """Count a storage's bytes for as long as it lives."""
        key, size = storage._cdata, storage.nbytes()
        if key in self._held:
            return
        self._held[key] = size
        self.peak = max(self.peak, sum(self._held.values()))
        weakref.finalize(storage, self._held.pop, key, None)

    def _copied(self, source: Tensor, target: torch.device, non_blocking: bool) -> None:
        if source.device.type == target.type:
            return
        if target.type == "cpu" or not non_blocking or id(source) not in self.pinned:
            self._wait(f"copy {source.device.type} to {target.type}", source if source.is_cuda else None)

    def _wait(self, what: str, tensor: Tensor | None) -> None:
        if tensor is None or tensor.is_cuda:
            self.waits.append(f"{what} {_place()}")

    def pin(self, tensor: Tensor) -> Tensor:
        """Stand in for `Tensor.pin_memory`, which fake tensors do not know."""
        pinned = tensor.clone()
        self.pinned[id(pinned)] = pinned
        return pinned


def _place() -> str:
    """The line of the package that is being run."""
    for frame in reversed(traceback.extract_stack()):
        if frame.filename.startswith(_OURS):
            return f"{Path(frame.filename).name}:{frame.lineno}"
    return "elsewhere"


def make_backend(embedder: Embedder, recorder: Recorder) -> PlainBackend:
    """Return a backend whose weights are on the device."""
    for module in embedder.modules():
        for name, value in list(module._parameters.items()):
            if value is not None:
                module._parameters[name] = nn.Parameter(value.detach().to(DEVICE))
        for name, value in list(module._buffers.items()):
            if value is not None:
                module._buffers[name] = value.to(DEVICE)
    for module in embedder.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.register_forward_pre_hook(lambda *_: setattr(recorder, "inside", recorder.inside + 1))
            module.register_forward_hook(lambda *_: setattr(recorder, "inside", recorder.inside - 1))
    return PlainBackend(embedder, settings=settings())


def pretend(recorder: Recorder) -> None:
    """Let torch believe in the device, and note where layers make tensors of Python values."""
    from torch.amp import autocast_mode

    autocast_mode.torch.cuda.amp.common.amp_definitely_not_available = lambda: False  # type: ignore[attr-defined]
    torch.cuda.is_bf16_supported = lambda *_, **__: True  # type: ignore[assignment]
    Tensor.pin_memory = lambda tensor, *_: recorder.pin(tensor)  # type: ignore[method-assign, assignment]

    def to_list(tensor: Tensor) -> Any:
        recorder._wait("tolist", tensor)
        return [0.5] * len(tensor)

    FakeTensor.tolist = to_list  # type: ignore[method-assign]
    for name in ("tensor", "as_tensor"):
        setattr(torch, name, _noting(recorder, getattr(torch, name)))


def _noting(recorder: Recorder, make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def noted(data: Any, *arguments: Any, **options: Any) -> Tensor:
        if recorder.inside and not isinstance(data, Tensor):
            recorder.lists.append(_place())
        return make(data, *arguments, **options)

    return noted


def one_step(name: str, objective: Objective, batch: RankBatch, budget: Budget) -> dict[str, Any]:
    """Take two steps and report on the second: the first one's optimizer makes its states."""
    recorder = Recorder()
    pretend(recorder)
    embedder = Embedder(TextModel.of(make_model()), dtype="bfloat16")
    with FakeTensorMode(allow_non_fake_inputs=True):
        backend = make_backend(embedder, recorder)
        for turn in range(2):
            if turn:
                recorder.__init__()  # type: ignore[misc]
            with recorder:
                placed = batch.to(DEVICE)
                run_step(backend, placed, objective, budget=budget)
                backend.update(1e-4)
    devices = {str(parameter.device) for parameter in backend.embedder.parameters()}
    return {
        "name": name,
        "waits": recorder.waits,
        "mixed": recorder.mixed,
        "kernels": dict(recorder.kernels),
        "kernel_types": sorted(recorder.kernel_types),
        "lists": recorder.lists,
        "peak": recorder.peak,
        "devices": sorted(devices),
    }


def enlarge(batch: RankBatch, times: int) -> RankBatch:
    """Repeat a batch's texts and examples."""

    def repeat(index: Tensor, step: int) -> Tensor:
        return torch.cat([torch.where(index < 0, index, index + turn * step) for turn in range(times)])

    texts = batch.texts
    return replace(
        batch,
        chunks=batch.chunks * times,
        texts=times * texts,
        tokens=times * batch.tokens,
        rows_per_rank=times * batch.rows_per_rank,
        gather_T=repeat(batch.gather_T, batch.rows_per_rank),
        own_R=repeat(batch.own_R, texts),
        query_Q=repeat(batch.query_Q, texts),
        positive_Q=repeat(batch.positive_Q, texts),
        negatives_QN=repeat(batch.negatives_QN, texts),
        group_Q=repeat(batch.group_Q, len(batch.query_Q)),
        source_Q=batch.source_Q.repeat(times),
        positive_score_Q=batch.positive_score_Q.repeat(times),
    )


def main() -> None:
    """Take steps of several kinds."""
    batch = make_batch(3, 0, 1)
    taught = make_batch(3, 0, 1, teacher=True)
    known = ObjectiveSpec.of(ObjectiveConfig(mask="known"))
    terms = ObjectiveSpec.of(ObjectiveConfig(terms={"similarity_kl": 1.0}))
    cases = [
        ("whole", build_objective(known, width=WIDTH), batch, Budget(1 << 20, 1 << 20)),
        ("two passes", build_objective(known, width=WIDTH), batch, Budget(64, 128)),
        ("taught", build_objective(terms, width=WIDTH, distillation_weight=1.0), taught, Budget(64, 1 << 20)),
        ("4 × in two passes", build_objective(known, width=WIDTH), enlarge(batch, 4), Budget(64, 128)),
        ("4 × whole", build_objective(known, width=WIDTH), enlarge(batch, 4), Budget(1 << 20, 1 << 20)),
        ("no negatives", build_objective(known, width=WIDTH), replace(batch, negatives_QN=batch.negatives_QN[:, :0]),
         Budget(64, 1 << 20)),
    ]  # fmt: skip
    print(json.dumps([one_step(*case) for case in cases]))


if __name__ == "__main__":
    main()
