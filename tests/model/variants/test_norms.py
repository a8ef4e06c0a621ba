"""Protects that the norms of training are the model's own, forward and back."""

import torch
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from polyglossa.model.variants.norms import Normalise, use_own_norms


def norms() -> tuple[Qwen3RMSNorm, Qwen3RMSNorm]:
    torch.manual_seed(0)
    stock, own = Qwen3RMSNorm(12), Qwen3RMSNorm(12)
    stock.weight.data.normal_()
    own.load_state_dict(stock.state_dict())
    use_own_norms(own)
    return stock, own


def test_states_and_gradients_are_the_stock_norms() -> None:
    stock, own = norms()
    inputs = torch.randn(2, 5, 3, 12)
    found = []
    for norm in (stock, own):
        given = inputs.clone().requires_grad_()
        output = norm(given)
        output.square().sum().backward()
        assert given.grad is not None
        assert norm.weight.grad is not None
        found.append((output.detach(), given.grad, norm.weight.grad))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    rows, weights = torch.randn(4, 12, dtype=torch.float64), torch.randn(12, dtype=torch.float64)
    inputs = (rows.requires_grad_(), weights.requires_grad_())
    assert torch.autograd.gradcheck(lambda row, weight: Normalise.apply(row, weight, 1e-6), inputs)


def test_under_autocast_the_stock_norm_runs() -> None:
    stock, own = norms()
    inputs = torch.randn(4, 12).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(own(inputs), stock(inputs), rtol=0, atol=0)
