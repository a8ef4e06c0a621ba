"""A prune plan: which channels, heads and layers of a parent stay. Data only; surgery applies it, no weights needed.

Widths are the same in every layer, because stock model code loads nothing else. The order of `kept_hidden` is the
order of the student's channels: it matters, as distillation pulls a student towards the teacher's *first* channels.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from polyglossa.errors import UserError

Indices = tuple[int, ...]


@dataclass(frozen=True)
class Sizes:
    """Widths and depth of a model, of a parent or of what is to be cut out of it."""

    hidden: int
    mlp: int
    layers: int
    kv_heads: int


@dataclass(frozen=True)
class Scores:
    """Importance of everything that can be removed; higher stays.

    `hidden_SD` has a row per layer and one for the model's output, so that layers that go have no say. `energy_D` is
    each channel's share of the mean square that the last norm divides by; its sum is 1.
    """

    hidden_SD: NDArray[np.float64]
    mlp_LM: NDArray[np.float64]
    kv_heads_LK: NDArray[np.float64]
    layers_L: NDArray[np.float64]
    energy_D: NDArray[np.float64]


@dataclass(frozen=True)
class PrunePlan:
    """Channels, key/value head groups and layers that stay, as indices into the parent.

    Attributes:
        kept_layers: layers of the parent, in order.
        kept_hidden: student channel → residual channel of the parent.
        kept_mlp: per kept layer, MLP channels; equally many in each.
        kept_kv_heads: per kept layer, key/value heads; their query heads stay with them.
        kept_tokens: student token id → token id of the parent; None keeps the table as it is.
        output_energy: share of the mean square before the last norm that the kept channels carry (0 … 1). What goes
            made the norm divide by more, so without it states would come out larger than the parent's.
    """

    kept_layers: Indices
    kept_hidden: Indices
    kept_mlp: tuple[Indices, ...]
    kept_kv_heads: tuple[Indices, ...]
    kept_tokens: Indices | None = None
    output_energy: float = 1.0

    def __post_init__(self) -> None:
        for name, kept in (("kept_layers", self.kept_layers), ("kept_hidden", self.kept_hidden)):
            _check_indices(name, kept)
        if not 0 < self.output_energy <= 1:
            raise UserError(f"prune plan: output_energy {self.output_energy} is no share; it is above 0 and at most 1.")
        if self.kept_tokens is not None:
            _check_indices("kept_tokens", self.kept_tokens)
        for name, groups in (("kept_mlp", self.kept_mlp), ("kept_kv_heads", self.kept_kv_heads)):
            if len(groups) != len(self.kept_layers):
                raise UserError(f"prune plan: {name} lists {len(groups)} layers, kept_layers {len(self.kept_layers)}.")
            if len({len(group) for group in groups}) != 1:
                raise UserError(f"prune plan: {name} differs in size between layers; keep equally many in each.")
            for group in groups:
                _check_indices(name, group)

    @property
    def sizes(self) -> Sizes:
        """Sizes of the student."""
        return Sizes(len(self.kept_hidden), len(self.kept_mlp[0]), len(self.kept_layers), len(self.kept_kv_heads[0]))

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain JSON data."""
        plan: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plan

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read a plan from the data that `to_json` gave."""
        return cls(
            tuple(data["kept_layers"]),
            tuple(data["kept_hidden"]),
            tuple(map(tuple, data["kept_mlp"])),
            tuple(map(tuple, data["kept_kv_heads"])),
            None if data["kept_tokens"] is None else tuple(data["kept_tokens"]),
            data["output_energy"],
        )

    @classmethod
    def everything(cls, parent: Sizes) -> Self:
        """Return the plan that keeps all of the parent."""
        layers = tuple(range(parent.layers))
        mlp, heads = tuple(range(parent.mlp)), tuple(range(parent.kv_heads))
        return cls(layers, tuple(range(parent.hidden)), (mlp,) * parent.layers, (heads,) * parent.layers)


def make_plan(parent: Sizes, target: Sizes, scores: Scores, depth: str) -> PrunePlan:
    """Choose what stays.

    Args:
        parent: sizes of the parent.
        target: sizes wanted.
        scores: importance of the parent's parts.
        depth: which layers stay: "first" n, n spread "uniform"ly, or the n of greatest "block_influence".

    Raises:
        UserError: a target size is not between 1 and the parent's.
    """
    check_target(parent, target)
    layers = choose_layers(scores.layers_L, target.layers, depth)
    hidden_D = scores.hidden_SD[[*layers, parent.layers]].mean(axis=0)
    kept_hidden = align(top(hidden_D, target.hidden))
    energy = float(scores.energy_D[list(kept_hidden)].sum())
    return PrunePlan(
        kept_layers=layers,
        kept_hidden=kept_hidden,
        kept_mlp=tuple(top(scores.mlp_LM[layer], target.mlp) for layer in layers),
        kept_kv_heads=tuple(top(scores.kv_heads_LK[layer], target.kv_heads) for layer in layers),
        output_energy=1.0 if target.hidden == parent.hidden or not 0 < energy < 1 else energy,
    )


def check_target(parent: Sizes, target: Sizes) -> None:
    """Raise UserError where a target size is not between 1 and the parent's."""
    for name, got in vars(target).items():
        limit = getattr(parent, name)
        if not 1 <= got <= limit:
            raise UserError(f"prune.{name}: got {got}; allowed is 1 to {limit}, what the parent has.")


def choose_layers(influence_L: NDArray[np.float64], count: int, depth: str) -> Indices:
    """Choose `count` layers; the first and the last are always part of a uniform choice of two or more."""
    total = len(influence_L)
    if depth == "first":
        return tuple(range(count))
    if depth == "uniform":
        return tuple(round(i * (total - 1) / max(count - 1, 1)) for i in range(count))
    return top(influence_L, count)


def top(scores_N: NDArray[np.float64], count: int) -> Indices:
    """Return the `count` highest-scored indices in ascending order; ties go to the lower index."""
    order = np.argsort(-scores_N, kind="stable")[:count]
    return tuple(sorted(order.tolist()))


def align(kept: Sequence[int]) -> Indices:
    """Order kept channels so that each one below the new width keeps its own place.

    Channel order is free inside the model, and the distillation target of student channel i is teacher channel i:
    every channel that can sit on its own target does, and the others fill the gaps in ascending order.
    """
    width = len(kept)
    own = {channel for channel in kept if channel < width}
    others = iter(sorted(channel for channel in kept if channel >= width))
    return tuple(place if place in own else next(others) for place in range(width))


def _check_indices(name: str, kept: Indices) -> None:
    if not kept:
        raise UserError(f"prune plan: {name} keeps nothing; keep at least one.")
    if len(set(kept)) != len(kept) or min(kept) < 0:
        raise UserError(f"prune plan: {name} repeats an index or holds a negative one.")
