"""FLOPs of a Qwen3 model per token, from its shape.

A matrix product of one token with a weight of P entries is 2·P FLOPs; causal attention adds 2·H·E·s per layer and token
(scores and sums over s/2 keys on average); training is three times the forward pass (Kaplan et al., arXiv 2001.08361),
or twice where weights are frozen: they get no gradients, and pass those of their inputs on (LoRA, arXiv 2106.09685).
H = query heads, E = head dimension, s = length of the token's text, length-weighted.
"""

from collections.abc import Collection

from polyglossa.recipe.sections.backbone import Shape


def linear_parameters(shape: Shape) -> int:
    """Entries of all matrices that a token is multiplied with: no table, no norms."""
    attention = shape.hidden * shape.head_dim * (2 * shape.heads + 2 * shape.kv_heads)
    return shape.layers * (attention + 3 * shape.hidden * shape.mlp)


def low_rank_parameters(shape: Shape, rank: int, modules: Collection[str]) -> int:
    """Entries of a LoRA's parts: rank times both sides of each linear layer that has them.

    Layers of other families than Qwen3's have other names: where one is named, all of them are counted.
    """
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    sides = {
        "q_proj": shape.hidden + query,
        "k_proj": shape.hidden + key,
        "v_proj": shape.hidden + key,
        "o_proj": query + shape.hidden,
        "gate_proj": shape.hidden + shape.mlp,
        "up_proj": shape.hidden + shape.mlp,
        "down_proj": shape.mlp + shape.hidden,
    }
    named = modules if set(modules) <= sides.keys() else sides
    return rank * shape.layers * sum(sides[name] for name in named)


def forward_flops(shape: Shape, length: float) -> float:
    """FLOPs of one token's forward pass in texts of this length (length-weighted mean, tokens)."""
    return 2 * linear_parameters(shape) + 2 * shape.layers * shape.heads * shape.head_dim * length


def training_flops(shape: Shape, length: float, *, forwards: float = 1.0, frozen: bool = False) -> float:
    """FLOPs of one token's forward and backward pass; `forwards` counts forward passes (2: recomputed once)."""
    return ((1 if frozen else 2) + forwards) * forward_flops(shape, length)
