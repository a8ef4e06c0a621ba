"""FLOPs of a Qwen3 model per token, from its shape.

A matrix product of one token with a weight of P entries is 2·P FLOPs; causal attention adds 2·H·E·s per layer and token
(scores and sums over s/2 keys on average); training is three times the forward pass (Kaplan et al., arXiv 2001.08361).
H = query heads, E = head dimension, s = length of the token's text, length-weighted.
"""

from polyglossa.recipe.sections.backbone import Shape


def linear_parameters(shape: Shape) -> int:
    """Entries of all matrices that a token is multiplied with: no table, no norms."""
    attention = shape.hidden * shape.head_dim * (2 * shape.heads + 2 * shape.kv_heads)
    return shape.layers * (attention + 3 * shape.hidden * shape.mlp)


def forward_flops(shape: Shape, length: float) -> float:
    """FLOPs of one token's forward pass in texts of this length (length-weighted mean, tokens)."""
    return 2 * linear_parameters(shape) + 2 * shape.layers * shape.heads * shape.head_dim * length


def training_flops(shape: Shape, length: float, *, forwards: float = 1.0) -> float:
    """FLOPs of one token's forward and backward pass; `forwards` counts forward passes (2: recomputed once)."""
    return (2 + forwards) * forward_flops(shape, length)
