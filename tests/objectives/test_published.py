"""The published objective is reproduced: reference values of F2LLM-v2's training script to 1e-9 in float64.

The reference is per worker (losses and gradients of each worker's own queries); ours is over the global batch, whose
mean is the mean of the workers' values, so a worker's gradient is the global one times the number of workers.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from polyglossa.objectives.batch import Examples, embedding_loss, teacher_loss
from polyglossa.objectives.contrastive import hard_negative_loss, in_batch_loss
from polyglossa.objectives.matryoshka import weights, widths
from polyglossa.objectives.terms import TermInputs

CASES = json.loads(Path(__file__).with_name("loss_vectors.json").read_text())["cases"]


def tensor(value: Any) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@pytest.fixture(params=CASES, ids=lambda case: case["name"])
def case(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.param


@pytest.fixture(params=["plain", "matryoshka"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def chosen_widths(case: dict[str, Any], kind: str) -> tuple[list[int], tuple[float, ...]]:
    chosen = case["mrl_dims"] if kind == "matryoshka" else [case["dim"]]
    return chosen, weights(chosen, "published")


def global_batch(case: dict[str, Any]) -> tuple[Tensor, Examples]:
    """Lay the workers' queries, positives and negatives out as one text table."""
    query_QD, positive_QD = tensor(case["query"]).flatten(0, 1), tensor(case["positive"]).flatten(0, 1)
    negative_QND = tensor(case["negative"]).flatten(0, 1)
    count, negatives = negative_QND.shape[:2]
    rows = torch.arange(count)
    examples = Examples(
        query_Q=rows,
        positive_Q=rows + count,
        negatives_QN=2 * count + torch.arange(count * negatives).reshape(count, negatives),
        group_Q=rows,
        in_batch=True,
    )
    return torch.cat([query_QD, positive_QD, negative_QND.flatten(0, 1)]).requires_grad_(), examples


def test_each_workers_terms(case: dict[str, Any], kind: str) -> None:
    expected, (chosen, share) = case["expected"][kind], chosen_widths(case, kind)
    query_WBD, positive_WBD, negative_WBND = (tensor(case[role]) for role in ("query", "positive", "negative"))
    all_PD = positive_WBD.flatten(0, 1)
    for worker, (query_BD, positive_BD, negative_BND) in enumerate(
        zip(query_WBD, positive_WBD, negative_WBND, strict=True)
    ):
        own_B = torch.arange(len(query_BD)) + worker * len(query_BD)
        hard = in_batch = torch.zeros((), dtype=torch.float64)
        for width, weight in zip(chosen, share, strict=True):
            prefixes = (query_BD[:, :width], positive_BD[:, :width], negative_BND[..., :width])
            hard = hard + weight * hard_negative_loss(*prefixes, temperature=case["temperature"])
            in_batch = in_batch + weight * in_batch_loss(
                query_BD[:, :width], all_PD[:, :width], own_B, temperature=case["temperature"]
            )
        assert hard.item() == pytest.approx(expected["hard_negative_loss"][worker], abs=1e-9, rel=0)
        assert in_batch.item() == pytest.approx(expected["in_batch_loss"][worker], abs=1e-9, rel=0)


def test_global_batch_and_its_query_gradient(case: dict[str, Any], kind: str) -> None:
    expected, (chosen, share) = case["expected"][kind], chosen_widths(case, kind)
    state_TD, examples = global_batch(case)
    loss, terms = embedding_loss(
        state_TD,
        examples,
        temperature=case["temperature"],
        widths=chosen,
        weights=share,
        gather="query_only",
        mask="none",
    )
    assert terms["hard"].item() == pytest.approx(tensor(expected["hard_negative_loss"]).mean().item(), abs=1e-9, rel=0)
    assert terms["in_batch"].item() == pytest.approx(tensor(expected["in_batch_loss"]).mean().item(), abs=1e-9, rel=0)
    loss.backward()
    expected_QD = tensor(expected["grad_query_of_sum"]).flatten(0, 1)
    assert state_TD.grad is not None
    gradient_QD = state_TD.grad[: len(expected_QD)] * case["workers"]
    torch.testing.assert_close(gradient_QD, expected_QD, atol=1e-9, rtol=0)


def test_distillation_is_the_sum_of_three_means(case: dict[str, Any]) -> None:
    state_TD, examples = global_batch(case)
    roles = [tensor(case["teacher"][role]) for role in ("query", "positive", "negative")]
    teacher_TE = torch.cat([role.reshape(-1, role.shape[-1]) for role in roles]).requires_grad_()
    inputs = TermInputs(state_TD, examples, teacher_TE, temperature=1.0, widths=(case["dim"],), weights=(1.0,))
    _, terms = teacher_loss(inputs, distillation_weight=1.0, further={})
    expected = tensor(case["expected"]["distillation_mse"]).mean().item()
    assert terms["distillation"].item() == pytest.approx(expected, abs=1e-9, rel=0)


def test_widths_are_the_powers_of_two_from_eight_and_the_hidden_size() -> None:
    assert widths(8) == (8,)
    assert widths(40) == (8, 16, 32, 40)
    assert widths(64) == (8, 16, 32, 64)
    assert widths(1024) == (8, 16, 32, 64, 128, 256, 512, 1024)
    assert all(list(reversed(case["mrl_dims"])) == list(widths(case["dim"])) for case in CASES)


def test_published_weights_do_not_depend_on_the_order_of_widths() -> None:
    assert weights([24, 16, 8], "published") == weights([8, 16, 24], "published")[::-1]
    assert weights([8, 16], "uniform") == (1.0, 1.0)
    with pytest.raises(ValueError, match="'linear'"):
        weights([8], "linear")
