"""Weights of linear layers as int8 with a scale for each output channel; activations and sums keep their precision.

Our own: torch's is deprecated, and its successor, torchao, writes to the terminal wherever transformers is imported.
"""

import torch
from torch import Tensor, nn

_LARGEST = 127


class Int8Linear(nn.Module):
    """A linear layer whose weight is int8: y = (x · qᵀ) ∘ s + b, with s = max|w| / 127 for each output channel."""

    def __init__(self, linear: nn.Linear) -> None:
        """Round a layer's weight (symmetric, to the nearest)."""
        super().__init__()
        weight_OI = linear.weight.detach()
        scale_O1 = (weight_OI.abs().amax(1, keepdim=True) / _LARGEST).clamp(min=torch.finfo(weight_OI.dtype).tiny)
        self.register_buffer("weight_OI", (weight_OI / scale_O1).round().to(torch.int8))
        self.register_buffer("scale_O", scale_O1.squeeze(1))
        self.bias = linear.bias

    def forward(self, input_BI: Tensor) -> Tensor:
        """Multiply; the weight is widened for the time of the product.

        Args:
            input_BI: … × inputs.

        Returns:
            … × outputs, in the input's precision.
        """
        assert isinstance(self.weight_OI, Tensor)
        assert isinstance(self.scale_O, Tensor)
        output_BO = nn.functional.linear(input_BI, self.weight_OI.to(input_BI.dtype)) * self.scale_O
        return output_BO if self.bias is None else output_BO + self.bias


def quantize_weights(module: nn.Module) -> None:
    """Replace every linear layer below a module in place; embedding tables and norms stay as they are."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, Int8Linear(child))
        else:
            quantize_weights(child)
