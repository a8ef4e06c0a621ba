"""Training for compressed vectors: the loss is that of what is served, the gradient as if nothing had been rounded."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from polyglossa.objectives.batch import Examples, embedding_loss
from polyglossa.objectives.straight_through import to_binary, to_int8
from polyglossa.objectives.terms import TERMS, TermInputs
from polyglossa.vectors import as_int8, as_sign_bits, finish

WIDTHS, WEIGHTS = (8, 24), (0.4, 1.0)
EXAMPLES = Examples(
    query_Q=torch.tensor([0, 1, 2]),
    positive_Q=torch.tensor([3, 4, 5]),
    negatives_QN=torch.tensor([[6, -1], [5, 6], [-1, -1]]),
    group_Q=torch.tensor([0, 1, 2]),
    in_batch=True,
)
OPTIONS: dict[str, Any] = {"temperature": 0.1, "widths": WIDTHS, "weights": WEIGHTS}
FORMS = {"int8": to_int8, "binary": to_binary}


def table(seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(7, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def served(state_TW: Tensor, form: str) -> Tensor:
    """What the endpoint answers, as numbers of length 1."""
    vector = finish(state_TW.detach().numpy())
    if form == "int8":
        return normalize(torch.from_numpy(as_int8(vector).astype(np.float64)), dim=1)
    bits = np.unpackbits(as_sign_bits(vector), axis=1, count=vector.shape[1])
    return normalize(torch.from_numpy(2.0 * bits - 1.0), dim=1)


@given(st.integers(0, 10_000), st.sampled_from(["int8", "binary"]), st.floats(0.01, 100.0))
@settings(max_examples=30, deadline=None)
def test_the_loss_sees_what_is_served_whatever_the_length_of_states(seed: int, form: str, scale: float) -> None:
    state_TW = table(seed, scale).float()
    torch.testing.assert_close(
        normalize(FORMS[form](state_TW), dim=1).double(), served(state_TW, form), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("form", FORMS)
def test_a_term_is_the_contrastive_loss_over_compressed_vectors_of_every_width(form: str) -> None:
    state_TD = table()
    inputs = TermInputs(
        state_TD, EXAMPLES, None, 0.1, WIDTHS, WEIGHTS,
        contrast=lambda output: embedding_loss(state_TD, EXAMPLES, output=output, **OPTIONS)[0],
    )  # fmt: skip
    expected = sum(
        weight
        * embedding_loss(served(state_TD[:, :width], form), EXAMPLES, temperature=0.1, widths=(width,), weights=(1,))[0]
        for width, weight in zip(WIDTHS, WEIGHTS, strict=True)
    )
    assert float(TERMS[form](inputs)) == pytest.approx(float(expected), rel=1e-6)
    with pytest.raises(ValueError, match="there is none"):
        TERMS[form](TermInputs(state_TD, EXAMPLES, None, 0.1, WIDTHS, WEIGHTS))


@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_at_the_compressed_vector_passes_to_the_normalised_state(form: str) -> None:
    """dL/dstate = J(normalise)ᵀ · dL/dvector at the compressed vector: straight-through, and nothing else."""
    state_TD = table().requires_grad_()
    options = OPTIONS | {"widths": (24,), "weights": (1.0,)}
    embedding_loss(state_TD, EXAMPLES, output=FORMS[form], **options)[0].backward()
    compressed_TD = FORMS[form](state_TD).detach().requires_grad_()
    embedding_loss(compressed_TD, EXAMPLES, **options)[0].backward()
    twin_TD = table().requires_grad_()
    normalize(twin_TD, dim=-1).backward(compressed_TD.grad)
    torch.testing.assert_close(state_TD.grad, twin_TD.grad)
    assert state_TD.grad is not None
    assert state_TD.grad.abs().sum() > 0


def test_training_for_bits_turns_signs_that_a_float_loss_leaves_alone() -> None:
    """A pair that floats hold for nearly equal and bits do not: the term moves it until the bits agree."""
    query, positive = torch.full((1, 8), 1e-3), torch.full((1, 8), -1e-3)
    state_TD = torch.cat([query, positive, torch.randn(2, 8, generator=torch.Generator().manual_seed(0))]).double()
    state_TD[:2, 0] = 1.0
    state_TD.requires_grad_()
    pair = Examples(
        query_Q=torch.tensor([0]), positive_Q=torch.tensor([1]), negatives_QN=torch.tensor([[2, 3]]),
        group_Q=torch.tensor([0]), in_batch=False,
    )  # fmt: skip
    assert float(normalize(state_TD[:2].detach(), dim=1).prod(0).sum()) > 0.99
    for _ in range(200):
        loss, _ = embedding_loss(state_TD, pair, temperature=0.1, widths=(8,), weights=(1.0,), output=to_binary)
        (gradient,) = torch.autograd.grad(loss, state_TD)
        with torch.no_grad():
            state_TD -= 0.05 * gradient
    bits = to_binary(state_TD).detach()
    assert float((bits[0] * bits[1]).sum()) > float((to_binary(torch.cat([query, positive])).prod(0)).sum()) + 0.5
