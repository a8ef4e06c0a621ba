"""The DeepSpeed backend: ZeRO 0 to 3 with the numbers of the plain one. The only file that imports deepspeed.

DeepSpeed divides gradients by the world size; each rank's part of a whole-batch gradient must be summed, so what goes
into `engine.backward` is multiplied by it here, once. Its own checkpoints (pickle, bound to a world size) are never
written: `states` and `restore` exchange whole parameters. No compiler is needed: the shared-memory op that DeepSpeed
would build at start is switched off, and the optimizer is torch's.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

# Whoever places a worker says what it computes on (`engine/trainer.py`); a GPU that is in sight may be another's.
os.environ.setdefault("DS_ACCELERATOR", "cpu")
logging.getLogger("DeepSpeed").setLevel(logging.ERROR)

import deepspeed  # noqa: E402 - reads DS_ACCELERATOR when it is imported
from deepspeed import ops  # noqa: E402
from deepspeed.utils import (  # noqa: E402
    logger,
    safe_get_full_fp32_param,
    safe_get_full_grad,
    safe_get_full_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)

from polyglossa.data.batch import Chunk  # noqa: E402
from polyglossa.engine.backends.backend import ParameterState, ReadState  # noqa: E402
from polyglossa.engine.backends.plain import build_optimizer  # noqa: E402
from polyglossa.engine.embedder import Embedder, evaluating, inputs_of  # noqa: E402
from polyglossa.engine.stage_spec import OptimizerSettings  # noqa: E402
from polyglossa.runtime.collectives import rank, world_size  # noqa: E402

_PREFIX = "backbone."
_MOMENTS = ("exp_avg", "exp_avg_sq")
_LARGEST_BUCKET = 200_000_000


class DeepSpeedBackend:
    """A model whose gradients, moments and weights are split over ranks as far as the ZeRO stage says."""

    def __init__(self, embedder: Embedder, *, settings: OptimizerSettings, zero: int) -> None:
        if embedder.master == torch.float64:
            raise ValueError("float64 is for the plain backend; DeepSpeed keeps its states in float32")
        logger.setLevel(logging.ERROR)
        ops.__compatible_ops__["deepspeed_shm_comm"] = False
        os.environ.setdefault("LOCAL_RANK", "0")  # asserted by DeepSpeed whoever launched the process
        deepspeed.init_distributed(dist_init_required=False, verbose=False)
        self.zero = zero
        self.settings = settings
        self._engine: Any = deepspeed.initialize(
            model=embedder,
            model_parameters=[parameter for parameter in embedder.parameters() if parameter.requires_grad],
            optimizer=lambda parameters: build_optimizer(settings, list(parameters)),
            config=_config(embedder, settings, zero),
            dist_init_required=False,
        )[0]
        self.embedder = embedder
        self._device = embedder.device

    def embed(self, chunks: Sequence[Chunk]) -> Tensor:
        """See `step.Backend`."""
        return self._engine(*inputs_of(chunks))

    def backward(self, states: Sequence[Tensor], gradients: Sequence[Tensor], *, last: bool) -> None:
        """See `step.Backend`."""
        self._engine.set_gradient_accumulation_boundary(last)
        pairs = zip(states, gradients, strict=True)
        self._engine.backward(torch.stack([(state * gradient).sum() for state, gradient in pairs]).sum() * world_size())

    def evaluating(self) -> AbstractContextManager[None]:
        """See `step.Backend`."""
        return evaluating(self._engine.module)

    def update(self, learning_rate: float) -> float:
        """See `step.Backend`."""
        norm = None if self.zero else torch.nn.utils.get_total_norm(self._plain_gradients())
        self._set_rate(learning_rate)
        self._engine.step()
        return float(self._engine.get_global_grad_norm() if norm is None else norm)

    def gradients(self) -> dict[str, Tensor]:
        """Return every parameter's gradient between `backward(last=True)` and `update`. A collective."""
        return {name: safe_get_full_grad(parameter).detach().clone() for name, parameter in self._trained()}

    def states(self) -> Iterator[tuple[str, ParameterState]]:
        """Yield what a checkpoint holds of each parameter, after at least one update. A collective."""
        for name, parameter in self._trained():
            if self.zero == 0:
                moments = self._engine.optimizer.state[parameter]
                yield name, {"weight": parameter.detach(), **{key: moments[key] for key in _MOMENTS}}
            else:
                moments = {key: safe_get_full_optimizer_state(parameter, key) for key in _MOMENTS}
                yield name, {"weight": safe_get_full_fp32_param(parameter), **moments}

    def restore(self, read: ReadState, step: int) -> None:
        """Take over weights and moments, as after `step` updates. A collective.

        Optimizer states exist only after an update, so one is made first, at rate 0 and with a gradient of 0.
        """
        self._prime()
        for name, parameter in self._trained():
            state = {key: value.to(self._device, torch.float32) for key, value in read(name).items()}
            if self.zero == 3:
                _restore_partitioned(parameter, state)
            else:
                _restore_whole(parameter, state, self._engine.optimizer.state if self.zero == 0 else None)
        inner = self._engine.optimizer.optimizer if self.zero else self._engine.optimizer
        for moments in inner.state.values():
            moments["step"] = torch.full_like(torch.as_tensor(moments["step"]), float(step))

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every parameter, whole, by the backbone's names. A collective."""
        for name, parameter in self._named():
            with deepspeed.zero.GatheredParameters([parameter], enabled=self.zero == 3):
                yield name, parameter.detach().clone()

    def close(self) -> None:
        """Drop DeepSpeed's hooks and buffers, so that another run can follow in this process."""
        self._engine.destroy()

    def _named(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self._engine.module.named_parameters():
            yield name.removeprefix(_PREFIX), parameter

    def _trained(self) -> Iterator[tuple[str, Tensor]]:
        return ((name, parameter) for name, parameter in self._named() if parameter.requires_grad)

    def _plain_gradients(self) -> list[Tensor]:
        return [parameter.grad for _, parameter in self._trained() if parameter.grad is not None]

    def _set_rate(self, learning_rate: float) -> None:
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate

    def _prime(self) -> None:
        one = torch.ones(1, dtype=torch.int64, device=self._device)
        state = self.embed([Chunk(tokens=one, lengths_B=one, start=-1, seed=0, dummy=True)])
        self.backward([state], [torch.zeros_like(state)], last=True)
        self.update(0.0)


def _config(embedder: Embedder, settings: OptimizerSettings, zero: int) -> dict[str, Any]:
    # DeepSpeed allocates whole buckets, 500 M elements each by default; it wants their size to be even.
    needed = sum(parameter.numel() for parameter in embedder.parameters())
    bucket = min(_LARGEST_BUCKET, needed + needed % 2)
    partition: dict[str, Any] = {
        "stage": zero,
        "reduce_bucket_size": bucket,
        "allgather_bucket_size": bucket,
        "overlap_comm": embedder.device.type == "cuda",
    }
    if zero == 3:
        partition |= {
            "stage3_prefetch_bucket_size": bucket,
            "stage3_max_live_parameters": 2 * bucket,
            "stage3_max_reuse_distance": 2 * bucket,
        }
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": settings.clip,
        "steps_per_print": None,
        "zero_optimization": partition,
    }


def _restore_whole(parameter: Tensor, state: ParameterState, plain: dict[Tensor, Any] | None) -> None:
    with torch.no_grad():
        parameter.data.copy_(state["weight"])
    if plain is not None:
        for key in _MOMENTS:
            plain[parameter][key].copy_(state[key])
        return
    safe_set_full_fp32_param(parameter, state["weight"])
    for key in _MOMENTS:
        safe_set_full_optimizer_state(parameter, state[key], key)


def _restore_partitioned(parameter: Any, state: ParameterState) -> None:
    with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0), torch.no_grad():
        parameter.copy_(state["weight"])
    # DeepSpeed's own setter of whole values runs past the end where the last rank's part is padded.
    part = parameter.ds_tensor.ds_numel
    for key, value in state.items():
        padded = torch.nn.functional.pad(value.reshape(-1), (0, part * world_size() - value.numel()))
        own = padded[part * rank() : part * (rank() + 1)]
        if key == "weight":
            safe_set_local_fp32_param(parameter, own)
        else:
            safe_set_local_optimizer_state(parameter, own, key)
