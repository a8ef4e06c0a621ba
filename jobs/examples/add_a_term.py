"""Add a term to the loss: uniformity of the states on the sphere (Wang & Isola 2020, arXiv 2005.10242, equation 7).

A term is a function of `TermInputs` that returns a scalar, under a name in `TERMS`. Here it is tried on random states;
to train with it, put function and name into `platform/polyglossa/objectives/terms.py`, since workers are processes of
their own, and weigh it in a recipe: `objective: {terms: {uniformity: 0.1}}`. A term that compares with a teacher goes
into `TEACHER_TERMS`; one that reads the scores of pairs (`inputs.scores_Q`) needs `scores: true` in the stage.

python jobs/examples/add_a_term.py [--steps 50]
"""

import argparse

import torch
from torch import Tensor

from polyglossa.objectives.batch import Examples, further_loss
from polyglossa.objectives.terms import TERMS, TermInputs

SHARPNESS = 2.0  # t of the paper


def uniformity(inputs: TermInputs) -> Tensor:
    """Logarithm of the mean Gaussian potential of all pairs of a batch's texts: lower is more evenly spread."""
    vector_TD = torch.nn.functional.normalize(inputs.state_TD, dim=-1)
    return torch.pdist(vector_TD).square().mul(-SHARPNESS).exp().mean().log()


def main(argv: list[str] | None = None) -> None:
    """Spread sixteen states that lie close together, by this term alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50, help="steps of gradient descent")
    options = parser.parse_args(argv)

    TERMS["uniformity"] = uniformity
    torch.manual_seed(0)
    state_TD = (1.0 + 0.1 * torch.randn(16, 8)).requires_grad_()
    optimizer = torch.optim.SGD([state_TD], lr=1.0)
    for step in range(options.steps + 1):
        loss, terms = further_loss(inputs_of(state_TD), {"uniformity": 1.0})
        if step in (0, options.steps):
            print(f"step {step}: uniformity {terms['uniformity']:.3f}")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def inputs_of(state_TD: Tensor) -> TermInputs:
    """Take the even texts as queries and the odd ones as their positives; there is no teacher and no negative."""
    number_T = torch.arange(len(state_TD))
    examples = Examples(
        query_Q=number_T[0::2], positive_Q=number_T[1::2], negatives_QN=torch.empty(len(state_TD) // 2, 0).long(),
        group_Q=number_T[0::2], in_batch=True, source_Q=torch.zeros(len(state_TD) // 2).long(),
    )  # fmt: skip
    return TermInputs(
        state_TD, examples, teacher_TE=None, temperature=0.05, widths=(state_TD.shape[1],), weights=(1.0,)
    )


if __name__ == "__main__":
    main()
