"""Run teachers beside the student instead of reading a store: the published way, for data seen once.

The states are the store's but for its float16. Every step pays for the teachers' forward passes; students of one
teacher, epochs and trials share a store instead.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from polyglossa.data.batch import Chunk, RankBatch
from polyglossa.engine.embedder import inputs_of
from polyglossa.engine.step import Budget, gather_states
from polyglossa.model.directory import load_model
from polyglossa.model.forward import TextModel, fill_up
from polyglossa.model.variants.norms import use_own_norms
from polyglossa.storage import local_folder


class OnlineTeachers:
    """Frozen teachers of one rank; each rank embeds its own texts and all share the states."""

    def __init__(self, model_uris: Sequence[str], widths: Sequence[int], *, dtype: str, device: str, budget: Budget):
        """Load the teachers.

        Args:
            model_uris: model directories; they read the student's tokens, so their tokenizer must be the student's.
            widths: first coordinates of each that are kept.
            dtype: compute precision.
            device: where they run.
            budget: sizes of passes.
        """
        self._models: list[TextModel] = []
        with ExitStack() as stack:
            for uri in model_uris:
                # The weights themselves are in the compute precision: nothing trains them, and an 8B teacher in float32
                # under autocast takes 48 GB of a device where this takes 16.
                model = load_model(stack.enter_context(local_folder(uri)), dtype, device=device)
                use_own_norms(model.backbone)
                self._models.append(model)
        self._widths, self._budget = tuple(widths), budget

    @torch.no_grad()
    def teach(self, batch: RankBatch) -> RankBatch:
        """Return the batch with the teachers' states, before those of a guide if it brings them. A collective."""
        states = [
            gather_states(partial(_embed, model), batch, self._budget)[:, :width]
            for model, width in zip(self._models, self._widths, strict=True)
        ]
        stored = [] if batch.teacher_TE is None else [batch.teacher_TE.to(states[0].dtype)]
        return replace(batch, teacher_TE=torch.cat([*states, *stored], dim=1))


def _embed(model: TextModel, chunks: Sequence[Chunk]) -> Tensor:
    tokens_N, lengths, _ = inputs_of(chunks)
    texts = len(lengths)
    if model.description.packed and model.backbone.dtype == torch.bfloat16:
        tokens_N, lengths = fill_up(tokens_N, lengths)
    state_BD: Tensor = model(tokens_N, lengths)[:texts]
    return state_BD.to(torch.promote_types(state_BD.dtype, torch.float32))
