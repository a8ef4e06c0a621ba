"""Anatomy of the backbones that can be pruned: what each dimension of each tensor counts, and where to listen.

Pruning knows models only through this table. A dimension counts channels of the residual stream ("hidden"), of the
MLP ("mlp"), of the query heads ("query") or of the key/value heads ("key"), or rows of the token table
("vocabulary"); a tensor that is not listed is kept whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from polyglossa.errors import UserError

Axis = Literal["vocabulary", "hidden", "mlp", "query", "key"]
Axes = tuple[Axis | None, ...]


@dataclass(frozen=True)
class Anatomy:
    """How one family of models is built, by the names of its modules."""

    layers: str
    """Module list of the layers."""
    tensors: Mapping[str, Axes]
    """Tensor outside the layers → what each of its dimensions counts."""
    layer_tensors: Mapping[str, Axes]
    """The same inside a layer, names relative to it."""
    gains: frozenset[str]
    """RMSNorm gains over the residual stream, to be rescaled when it narrows."""
    readers: Mapping[str, tuple[str, ...]]
    """Norm of a layer → the linear maps that read it; empty where the residual stream cannot be narrowed."""
    last_norm: str
    """The norm whose output is the model's, or ""."""
    attention_output: str
    """The linear map of a layer that reads the heads' outputs."""
    mlp_output: str
    """The linear map of a layer that reads the MLP's channels."""


QWEN3 = Anatomy(
    layers="layers",
    tensors={"embed_tokens.weight": ("vocabulary", "hidden"), "norm.weight": ("hidden",)},
    layer_tensors={
        "input_layernorm.weight": ("hidden",),
        "self_attn.q_proj.weight": ("query", "hidden"),
        "self_attn.q_proj.bias": ("query",),
        "self_attn.k_proj.weight": ("key", "hidden"),
        "self_attn.k_proj.bias": ("key",),
        "self_attn.v_proj.weight": ("key", "hidden"),
        "self_attn.v_proj.bias": ("key",),
        "self_attn.o_proj.weight": ("hidden", "query"),
        "self_attn.o_proj.bias": ("hidden",),
        "post_attention_layernorm.weight": ("hidden",),
        "mlp.gate_proj.weight": ("mlp", "hidden"),
        "mlp.up_proj.weight": ("mlp", "hidden"),
        "mlp.down_proj.weight": ("hidden", "mlp"),
    },
    gains=frozenset({"norm.weight", "input_layernorm.weight", "post_attention_layernorm.weight"}),
    readers={
        "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
    },
    last_norm="norm",
    attention_output="self_attn.o_proj",
    mlp_output="mlp.down_proj",
)

# LayerNorm subtracts the mean over all channels, so removing zero channels changes the rest: the width stays.
BERT = Anatomy(
    layers="encoder.layer",
    tensors={"embeddings.word_embeddings.weight": ("vocabulary", None)},
    layer_tensors={
        "intermediate.dense.weight": ("mlp", None),
        "intermediate.dense.bias": ("mlp",),
        "output.dense.weight": (None, "mlp"),
    },
    gains=frozenset(),
    readers={},
    last_norm="",
    attention_output="attention.output.dense",
    mlp_output="output.dense",
)

ANATOMIES: Mapping[str, Anatomy] = {"qwen3": QWEN3, "bert": BERT, "roberta": BERT, "xlm-roberta": BERT}


def anatomy_of(model_type: str) -> Anatomy:
    """Look up the anatomy of a model type.

    Raises:
        UserError: no model of this type can be pruned yet.
    """
    if model_type not in ANATOMIES:
        raise UserError(f"prune: models of type {model_type!r} cannot be pruned; known are {', '.join(ANATOMIES)}.")
    return ANATOMIES[model_type]
