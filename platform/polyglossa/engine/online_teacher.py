"""Run teachers beside the student instead of reading a store: the published way, for data seen once.

The states are the store's but for its float16. Every step pays for the teachers' forward passes; students of one
teacher, epochs and trials share a store instead.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import torch

from polyglossa.data.batch import Chunk, RankBatch
from polyglossa.engine.embedder import Embedder, inputs_of
from polyglossa.engine.step import Budget, gather_states
from polyglossa.model.directory import load_model
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
        self._embedders = []
        with ExitStack() as stack:
            for uri in model_uris:
                model = load_model(stack.enter_context(local_folder(uri)))
                self._embedders.append(Embedder(model, dtype=dtype).to(device).eval())
        self._widths, self._budget = tuple(widths), budget

    @torch.no_grad()
    def teach(self, batch: RankBatch) -> RankBatch:
        """Return the batch with the teachers' states. A collective."""
        states = [
            gather_states(partial(_embed, embedder), batch, self._budget)[:, :width]
            for embedder, width in zip(self._embedders, self._widths, strict=True)
        ]
        return replace(batch, teacher_TE=torch.cat(states, dim=1))


def _embed(embedder: Embedder, chunks: Sequence[Chunk]) -> torch.Tensor:
    state_BD: torch.Tensor = embedder(*inputs_of(chunks))
    return state_BD
