"""From a stage's settings to the loss of a global batch: the recipe's words become tensors' arguments here, once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from polyglossa.data.batch import RankBatch
from polyglossa.engine.stage_spec import GuideTerm, ObjectiveSpec, TeacherTerm
from polyglossa.engine.step import Objective
from polyglossa.objectives.batch import Examples, embedding_loss, further_loss, teacher_loss
from polyglossa.objectives.candidates import NEGATIVES, Guide
from polyglossa.objectives.exits import mean_over_exits
from polyglossa.objectives.matryoshka import learned_weights, weights, widths
from polyglossa.objectives.terms import TermInputs, check_terms
from polyglossa.runtime.transfer import send

_TEMPERATURES = (0.01, 1.0)


def build_objective(
    spec: ObjectiveSpec,
    *,
    width: int,
    distillation_weight: float = 0.0,
    teachers: Sequence[TeacherTerm] = (),
    guide: GuideTerm | None = None,
) -> Objective:
    """Bind a stage's objective settings.

    Args:
        spec: the stage's objective.
        width: the model's width D.
        distillation_weight: weight of a teacher's MSE term, where a batch brings teacher states (validation has none).
        teachers: whose states lie side by side in a batch, in order; none means one teacher, all of its states.
        guide: whose states lie behind theirs and leave in-batch candidates out; None has none.

    Raises:
        ValueError: a further term is not known.
    """
    check_terms(spec.terms)
    widths_ = (width,) if spec.matryoshka == "none" else widths(width)
    objective = StageObjective(
        spec=spec,
        width=width,
        widths=widths_,
        weights=tuple(weights(widths_, "uniform" if spec.matryoshka == "none" else spec.matryoshka)),
        distillation_weight=distillation_weight,
        teachers=tuple(teachers),
        guide=guide,
    )
    return MeanOverExits(objective) if spec.layer_exits else objective


def build_validation(spec: ObjectiveSpec, *, width: int, full: bool) -> Objective:
    """Bind what validation losses are made of: the stage's objective without its teachers and its guide.

    Args:
        spec: the stage's objective.
        width: the model's width.
        full: whether the full width alone counts, as in F2LLM-v2's script.
    """
    return build_objective(replace(spec, matryoshka="none") if full else spec, width=width)


@dataclass(frozen=True)
class StageObjective:
    """The loss of a stage's batches; called with a text table [T, F] and its batch."""

    spec: ObjectiveSpec
    width: int
    """The model's width D; further columns of the table hold projections and the temperature."""
    widths: tuple[int, ...]
    """Matryoshka widths."""
    weights: tuple[float, ...]
    """One for each width."""
    distillation_weight: float
    teachers: tuple[TeacherTerm, ...]
    guide: GuideTerm | None = None

    def __call__(self, table_TF: Tensor, batch: RankBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of the global batch, and its terms by name."""
        spec, state_TD, examples = self.spec, table_TF[:, : self.width], self._examples(batch)
        teacher_TE, guide = _guide_of(batch, self.guide)
        columns = _Columns.of(table_TF, self)
        temperature, weights = columns.temperature, columns.weights
        contrastive: dict[str, Any] = {
            "temperature": temperature, "widths": self.widths, "weights": weights, "hard_weight": spec.hard_weight,
            "in_batch_weight": spec.in_batch_weight, "gather": spec.gather, "mask": spec.mask,
            "score_margin": spec.score_margin, "bidirectional": spec.bidirectional, "candidates": spec.candidates,
            "guide": guide,
        }  # fmt: skip
        loss, terms = embedding_loss(state_TD, examples, **contrastive)
        loss, terms = loss + columns.penalty, terms | columns.learned
        inputs = TermInputs(
            state_TD, examples, None, temperature, self.widths, weights, rescored_scale=spec.rescored_scale,
            contrast=lambda output: embedding_loss(state_TD, examples, output=output, **contrastive)[0],
        )  # fmt: skip
        further, found = further_loss(inputs, spec.terms)
        loss, terms = loss + further, terms | found
        for share, taught_TE, projected_TE in _split(columns.projected_TF, teacher_TE, self.teachers):
            given = replace(inputs, teacher_TE=taught_TE, projected_TE=projected_TE)
            taught, found = teacher_loss(given, distillation_weight=self.distillation_weight, further=spec.terms)
            loss = loss + share * taught
            terms |= {name: terms.get(name, 0.0) + share * term for name, term in found.items()}
        return loss, terms

    def _examples(self, batch: RankBatch) -> Examples:
        return examples_of(batch, negatives=NEGATIVES in self.spec.candidates)


@dataclass(frozen=True)
class MeanOverExits:
    """The mean of an objective over layer exits, whose states lie side by side in the table: [T, X · D]."""

    objective: StageObjective

    def __call__(self, state_TXD: Tensor, batch: RankBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean loss, and the terms by name."""
        state_XTD = state_TXD.unflatten(1, (-1, self.objective.width)).transpose(0, 1)
        return mean_over_exits(lambda state_TD: self.objective(state_TD, batch), state_XTD)


@dataclass(frozen=True)
class _Columns:
    """What stands behind the states in a table."""

    projected_TF: Tensor
    """Projections into teachers' spaces."""
    weights: tuple[float, ...] | Tensor
    """One for each width, learned or not."""
    penalty: Tensor | float
    """What learned weights cost, and the weighed loss over masked tokens."""
    temperature: float | Tensor
    learned: dict[str, Tensor]
    """Figures of what is learned beside the contrastive loss."""

    @classmethod
    def of(cls, table_TF: Tensor, objective: StageObjective) -> "_Columns":
        """Read the columns of an objective's table, the last ones first."""
        spec, learned = objective.spec, dict[str, Tensor]()
        weights: tuple[float, ...] | Tensor = objective.weights
        temperature: float | Tensor = spec.temperature
        penalty: Tensor | float = 0.0
        end = table_TF.shape[1]
        if spec.learned_temperature:
            end = _before(end, 1, objective.width, "learned_temperature")
            # Within bounds, as CLIP keeps it (arXiv 2103.00020).
            temperature = table_TF[:, end].mean().exp().clamp(*_TEMPERATURES)
            learned["temperature"] = temperature.detach()
        if spec.masked_tokens is not None:
            end = _before(end, 2, objective.width, "masked_tokens")
            loss, count = table_TF[:, end].sum(), table_TF[:, end + 1].sum().detach()
            learned["masked_tokens"] = (loss / count.clamp_min(1)).detach()
            penalty = spec.masked_tokens.weight * loss / count.clamp_min(1)
        if spec.matryoshka == "learned":
            start = _before(end, len(objective.widths), objective.width, "matryoshka: learned")
            weights, cost = learned_weights(table_TF[:, start:end].mean(0))
            end, penalty = start, penalty + cost
            learned |= {f"weight_{width}": one.detach() for width, one in zip(objective.widths, weights, strict=True)}
        return cls(table_TF[:, objective.width : end], weights, penalty, temperature, learned)


def _before(end: int, count: int, width: int, what: str) -> int:
    if end - count < width:
        raise ValueError(f"{what}: the embedder learns none, and the table ends with the states")
    return end - count


def _guide_of(batch: RankBatch, term: GuideTerm | None) -> tuple[Tensor | None, Guide | None]:
    """Part a batch's stored states: those of the teachers, and the guide's; validation brings neither."""
    if term is None or batch.teacher_TE is None:
        return batch.teacher_TE, None
    taught = batch.teacher_TE.shape[1] - term.width
    guided_Q = None
    if term.sources is not None:
        guided_Q = torch.isin(batch.source_Q, torch.tensor(term.sources, device=batch.source_Q.device))
    guide = Guide(batch.teacher_TE[:, taught:], term.margin, term.most, guided_Q)
    return batch.teacher_TE[:, :taught] if taught else None, guide


def _split(
    projected_TF: Tensor, teacher_TF: Tensor | None, teachers: Sequence[TeacherTerm]
) -> list[tuple[float, Tensor, Tensor | None]]:
    """Each teacher's share, its states and, where there is one, the student's projection into its space."""
    if teacher_TF is None:
        return []
    if not teachers:
        return [(1.0, teacher_TF, None)]
    projections = iter(projected_TF.split([one.width for one in teachers if one.projected], dim=1))
    states = teacher_TF.split([one.width for one in teachers], dim=1)
    return [
        (one.share, state_TE, next(projections) if one.projected else None)
        for one, state_TE in zip(teachers, states, strict=True)
    ]


def examples_of(batch: RankBatch, *, negatives: bool = False) -> Examples:
    """Return the batch's examples as the objectives take them; what depends on values is found on the host.

    Args:
        batch: of this rank.
        negatives: whether negatives are in-batch candidates.
    """
    found: dict[str, Any] = {}
    if batch.host is not None:
        host, device = _examples(batch.host), batch.query_Q.device
        if batch.teacher_TE is not None:
            found = {"chosen_P": send(host.chosen_negatives, device), "document_P": send(host.documents, device)}
        if negatives:
            found["negative_U"] = send(host.distinct_negatives, device)
    return replace(_examples(batch), **found)


def _examples(batch: RankBatch) -> Examples:
    return Examples(
        query_Q=batch.query_Q,
        positive_Q=batch.positive_Q,
        negatives_QN=batch.negatives_QN,
        group_Q=batch.group_Q,
        in_batch=batch.in_batch,
        source_Q=batch.source_Q,
        score_Q=batch.score_Q,
        candidate_score_QC=batch.candidate_score_QC,
    )
