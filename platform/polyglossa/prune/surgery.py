"""Surgery: cut the model that a plan describes out of its parent. Weights are copied, never changed, but for the gains.

RMSNorm divides by the root of the *mean* square over D channels. With d channels left the mean is taken over d, so
every gain is multiplied by √(D/d): a model whose removed channels are zero then gives the same output (exactly at
eps 0). Where they are not zero, the last gain is also multiplied by the root of the share of energy that stays, so that
states come out at the parent's size, which distillation on raw states aims at. Norms inside heads are untouched.
"""

import copy
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import AutoModel, PretrainedConfig, PreTrainedModel

from polyglossa.errors import UserError
from polyglossa.prune.anatomy import Anatomy, Axes, Axis, anatomy_of
from polyglossa.prune.plan import PrunePlan, Sizes


def sizes_of(config: PretrainedConfig) -> Sizes:
    """Read the sizes of a model from its config."""
    heads = config.num_attention_heads
    return Sizes(
        config.hidden_size,
        config.intermediate_size,
        config.num_hidden_layers,
        getattr(config, "num_key_value_heads", None) or heads,
    )


def prune_model(parent: PreTrainedModel, plan: PrunePlan) -> PreTrainedModel:
    """Return the model that the plan keeps, of the parent's class, device and dtype.

    Raises:
        UserError: the plan names parts that the parent lacks, or that this family of models cannot lose.
    """
    anatomy = anatomy_of(parent.config.model_type)
    _check_plan(plan, sizes_of(parent.config), anatomy, parent.config)
    cuts = _Cuts(plan, parent.config)
    state: dict[str, Tensor] = {}
    for name, tensor in parent.state_dict().items():
        renamed = _rename(name, anatomy, plan)
        if renamed is not None:
            state[renamed] = cuts.apply(name, tensor, anatomy)
    return _assemble(parent, prune_config(parent.config, plan), state)


def prune_config(config: PretrainedConfig, plan: PrunePlan) -> PretrainedConfig:
    """Return the stock config of the student."""
    sizes, pruned = plan.sizes, copy.deepcopy(config)
    pruned.hidden_size = sizes.hidden
    pruned.intermediate_size = sizes.mlp
    pruned.num_hidden_layers = sizes.layers
    if plan.kept_tokens is not None:
        _renumber_tokens(pruned, plan.kept_tokens)
    if getattr(config, "num_key_value_heads", None):
        pruned.num_attention_heads = sizes.kv_heads * (config.num_attention_heads // config.num_key_value_heads)
        pruned.num_key_value_heads = sizes.kv_heads
    if getattr(config, "layer_types", None):
        pruned.layer_types = [config.layer_types[layer] for layer in plan.kept_layers]
    return pruned


def _renumber_tokens(config: PretrainedConfig, kept: Sequence[int]) -> None:
    """Set the table's size and the ids of special tokens; one that is gone becomes None."""
    new_ids = {old: new for new, old in enumerate(kept)}
    config.vocab_size = len(kept)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        old = getattr(config, name, None)
        if old is not None:
            ids = [new_ids[one] for one in (old if isinstance(old, list) else [old]) if one in new_ids]
            setattr(config, name, ids if isinstance(old, list) else next(iter(ids), None))


def count_parameters(config: PretrainedConfig) -> int:
    """Count the parameters of a config's model exactly, without allocating them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in AutoModel.from_config(config).parameters())


class _Cuts:
    """Turns axes into index tensors and applies them."""

    def __init__(self, plan: PrunePlan, config: PretrainedConfig) -> None:
        self._plan, self._config = plan, config
        self._gain = math.sqrt(config.hidden_size / len(plan.kept_hidden))

    def apply(self, name: str, tensor: Tensor, anatomy: Anatomy) -> Tensor:
        layer, local = _split(name, anatomy)
        table: Mapping[str, Axes] = anatomy.tensors if layer is None else anatomy.layer_tensors
        for dimension, axis in enumerate(table.get(local, ())):
            kept = self._indices(axis, layer) if axis is not None else None
            if kept is not None:
                tensor = tensor.index_select(dimension, torch.tensor(kept, device=tensor.device))
        if local not in anatomy.gains:
            return tensor.clone()
        last = name == f"{anatomy.last_norm}.weight"
        return tensor * (self._gain * (math.sqrt(self._plan.output_energy) if last else 1.0))

    def _indices(self, axis: Axis, layer: int | None) -> Sequence[int] | None:
        if axis == "hidden":
            return self._plan.kept_hidden
        if axis == "vocabulary":
            return self._plan.kept_tokens
        assert layer is not None, "inside the layers alone are there heads and MLPs"
        place = self._plan.kept_layers.index(layer)
        if axis == "mlp":
            return self._plan.kept_mlp[place]
        heads_per_group = self._config.num_attention_heads // self._config.num_key_value_heads
        width = self._config.head_dim * (heads_per_group if axis == "query" else 1)
        return [group * width + i for group in self._plan.kept_kv_heads[place] for i in range(width)]


def _split(name: str, anatomy: Anatomy) -> tuple[int | None, str]:
    prefix = f"{anatomy.layers}."
    if not name.startswith(prefix):
        return None, name
    layer, _, local = name.removeprefix(prefix).partition(".")
    return int(layer), local


def _rename(name: str, anatomy: Anatomy, plan: PrunePlan) -> str | None:
    layer, local = _split(name, anatomy)
    if layer is None:
        return name
    if layer not in plan.kept_layers:
        return None
    return f"{anatomy.layers}.{plan.kept_layers.index(layer)}.{local}"


def _assemble(parent: PreTrainedModel, config: PretrainedConfig, state: Mapping[str, Tensor]) -> PreTrainedModel:
    with torch.device("meta"):
        student = type(parent)(config)
        if hasattr(parent, "pooler") and parent.pooler is None:
            student.pooler = None
    student.load_state_dict(state, strict=True, assign=True)
    # Buffers that no state dict holds (rotary tables, position ids) do not depend on what was cut.
    for name, buffer in parent.named_buffers():
        owner, _, leaf = name.rpartition(".")
        setattr(student.get_submodule(owner), leaf, buffer.clone())
    student.requires_grad_(True)
    return student.train(parent.training)


def _check_plan(plan: PrunePlan, parent: Sizes, anatomy: Anatomy, config: PretrainedConfig) -> None:
    highest = {
        "hidden": max(plan.kept_hidden),
        "mlp": max(map(max, plan.kept_mlp)),
        "layers": max(plan.kept_layers),
        "kv_heads": max(map(max, plan.kept_kv_heads)),
    }
    for name, index in highest.items():
        if index >= getattr(parent, name):
            raise UserError(f"prune plan: keeps {name} {index}, but the parent has only {getattr(parent, name)}.")
    last_token = max(plan.kept_tokens or (0,))
    if last_token >= config.vocab_size:
        raise UserError(f"prune plan: keeps token {last_token}, but the table has only {config.vocab_size} rows.")
    if anatomy.readers:
        return
    for name in ("hidden", "kv_heads"):
        if getattr(plan.sizes, name) != getattr(parent, name):
            raise UserError(
                f"prune.{name}: models of type {config.model_type!r} keep all {getattr(parent, name)}; "
                "cut their mlp and layers instead."
            )
