"""The plain torch backend: gradients are summed over ranks by hand. The reference that other backends are held to."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from polyglossa.data.batch import Chunk
from polyglossa.engine.backends.backend import ParameterState, ReadState
from polyglossa.engine.embedder import Embedder, evaluating, inputs_of
from polyglossa.engine.stage_spec import OptimizerSettings
from polyglossa.runtime.collectives import sum_in_place

_PREFIX = "backbone."


def build_optimizer(settings: OptimizerSettings, parameters: Sequence[Tensor]) -> torch.optim.AdamW:
    """Make the optimizer; its rate is set at every update."""
    return torch.optim.AdamW(
        parameters, lr=0.0, betas=settings.betas, eps=settings.epsilon, weight_decay=settings.weight_decay, fused=True
    )


class PlainBackend:
    """A whole copy of the model on every rank."""

    def __init__(self, embedder: Embedder, *, settings: OptimizerSettings) -> None:
        self.embedder = embedder
        self.settings = settings
        self._parameters = {name: value for name, value in self.embedder.named_parameters() if value.requires_grad}
        self._optimizer = build_optimizer(settings, list(self._parameters.values()))

    def embed(self, chunks: Sequence[Chunk]) -> Tensor:
        """See `step.Backend`."""
        return self.embedder(*inputs_of(chunks))

    def backward(self, states: Sequence[Tensor], gradients: Sequence[Tensor], *, last: bool) -> None:
        """See `step.Backend`; ranks meet only when the step closes."""
        torch.autograd.backward(list(states), list(gradients))
        if last:
            for parameter in self._parameters.values():
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            sum_in_place([parameter.grad for parameter in self._parameters.values() if parameter.grad is not None])

    def evaluating(self) -> AbstractContextManager[None]:
        """See `step.Backend`."""
        return evaluating(self.embedder)

    def update(self, learning_rate: float) -> float:
        """See `step.Backend`."""
        norm = torch.nn.utils.clip_grad_norm_(list(self._parameters.values()), self.settings.clip)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._optimizer.zero_grad()
        return float(norm)

    def gradients(self) -> dict[str, Tensor]:
        """Return every parameter's gradient between `backward(last=True)` and `update`, by the backbone's names."""
        found = {name: parameter.grad for name, parameter in self._parameters.items()}
        return {name.removeprefix(_PREFIX): grad.clone() for name, grad in found.items() if grad is not None}

    def states(self) -> Iterator[tuple[str, ParameterState]]:
        """Yield what a checkpoint holds of each parameter, after at least one update."""
        for name, parameter in self._parameters.items():
            moments = self._optimizer.state[parameter]
            yield (
                name.removeprefix(_PREFIX),
                {
                    "weight": parameter.detach(),
                    "exp_avg": moments["exp_avg"],
                    "exp_avg_sq": moments["exp_avg_sq"],
                },
            )

    def restore(self, read: ReadState, step: int) -> None:
        """Take over weights and moments, as after `step` updates."""
        for name, parameter in self._parameters.items():
            state = read(name.removeprefix(_PREFIX))
            with torch.no_grad():
                parameter.copy_(state["weight"])
            self._optimizer.state[parameter] = {
                "step": torch.tensor(float(step), device=parameter.device),
                "exp_avg": state["exp_avg"].to(parameter),
                "exp_avg_sq": state["exp_avg_sq"].to(parameter),
            }

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every parameter, whole, by the backbone's names."""
        for name, parameter in self.embedder.named_parameters():
            yield name.removeprefix(_PREFIX), parameter.detach()

    def close(self) -> None:
        """Nothing outlives the process."""
