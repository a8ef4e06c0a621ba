"""int8 weights: nearly the same vectors, a quarter of the bytes of every linear layer."""

import numpy as np
import torch
from torch import nn

from polyglossa.model.encoder import Encoder
from polyglossa.model.variants.quantize import Int8Linear


def test_vectors_of_int8_weights_are_close_and_single_equals_batch(model_path: str, texts: list[str]) -> None:
    exact, small = Encoder.load(model_path), Encoder.load(model_path, dtype="int8")
    together_ND = small.encode(texts)
    assert np.sum(together_ND * exact.encode(texts), axis=1).min() > 0.999
    alone_ND = np.concatenate([small.encode([text]) for text in texts])
    np.testing.assert_allclose(alone_ND, together_ND, atol=1e-5)


def test_every_linear_layer_holds_int8(model_path: str) -> None:
    small = Encoder.load(model_path, dtype="int8").backbone
    assert not [module for module in small.modules() if isinstance(module, nn.Linear)]
    layers = [module for module in small.modules() if isinstance(module, Int8Linear)]
    assert len(layers) == 14  # two layers of four projections of attention and three of the MLP
    assert all(layer.weight_OI.dtype == torch.int8 for layer in layers)


def test_a_weight_is_off_by_half_a_step_at_most_and_a_channel_of_zeros_stays_zero() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(40, 8)
    with torch.no_grad():
        linear.weight[3] = 0
    small = Int8Linear(linear)
    rounded_OI = small.weight_OI * small.scale_O[:, None]
    step_O = linear.weight.abs().amax(1) / 127
    assert bool(((rounded_OI - linear.weight).abs() <= step_O[:, None] / 2 + 1e-9).all())
    input_BI = torch.randn(5, 40)
    torch.testing.assert_close(small(input_BI), input_BI @ rounded_OI.T + linear.bias)
    assert bool((small(input_BI)[:, 3] == linear.bias[3]).all())
