"""Our embeddings behind mteb 2's model protocols.

`MtebEncoder` is all that mteb needs of a model; `MtebSearcher` also searches, for tasks of many small subsets over one
corpus, where mteb's own wrapper would prepare that corpus again for every subset (60 ms each against 2 ms here). Both
return what mteb returns for the same vectors: similarity and the order of equal scores are mteb's.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mteb.models.abs_encoder import get_prompt_name
from mteb.models.model_meta import ModelMeta
from mteb.similarity_functions import cos_sim, dot_score, pairwise_cos_sim, pairwise_dot_score
from mteb.types import PromptType
from torch import Tensor

from polyglossa.errors import PolyglossaError
from polyglossa.evaluate.models.states import Floats, StateTable
from polyglossa.model.encoder import finish


class UnusableVectorsError(PolyglossaError):
    """A model gave vectors that cannot be judged."""


class MtebEncoder:
    """An encoder in mteb's sense: texts of a task → vectors, with the prompt that the task asks for."""

    def __init__(
        self,
        states: StateTable,
        prompts: Mapping[str, str],
        meta: ModelMeta,
        width: int | None = None,
        *,
        finished: bool = False,
        similarity: str = "cosine",
    ) -> None:
        """Wrap a table of states.

        Args:
            states: gives raw states of rendered texts.
            prompts: prefix by name; mteb's rules choose (task and type, task, task type and type, task type, type).
            meta: how mteb records the model.
            width: Matryoshka width; None is the full one.
            finished: whether the states are vectors already, to be used as they are.
            similarity: `cosine` or `dot`.
        """
        self.states = states
        self.prompts = dict(prompts)
        self.width = width
        self.finished = finished
        self.mteb_model_meta = meta
        self._similarities = (dot_score, pairwise_dot_score) if similarity == "dot" else (cos_sim, pairwise_cos_sim)

    def encode(self, inputs: Any, *, task_metadata: Any, prompt_type: PromptType | None = None, **_: Any) -> Floats:
        """Embed the texts of mteb's batches."""
        texts = [text for batch in inputs for text in batch["text"]]
        return self.vectors(texts, task_metadata, prompt_type)

    def vectors(self, texts: list[str], task: Any, prompt_type: PromptType | None) -> Floats:
        """Return vectors [N, width] of a task's texts.

        Raises:
            UnusableVectorsError: the model gave numbers that are not finite; scores of them would mean nothing.
        """
        name = get_prompt_name(self.prompts, task, prompt_type)
        prefix = self.prompts[name] if name else ""
        state_ND = self.states([prefix + text for text in texts])
        bad = int((~np.isfinite(state_ND).all(axis=1)).sum())
        if bad:
            raise UnusableVectorsError(f"{bad} of {len(texts)} vectors hold numbers that are not finite.")
        return state_ND if self.finished else finish(torch.from_numpy(state_ND), self.width).numpy()

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Similarity of every pair."""
        return self._similarities[0](embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Similarity of rows side by side."""
        return self._similarities[1](embeddings1, embeddings2)


class MtebSearcher(MtebEncoder):
    """The same encoder with its own exact search, which keeps the vectors of the corpus between subsets."""

    _corpus: Any = None

    def index(self, corpus: Any, *, task_metadata: Any, **_: Any) -> None:
        """Take a corpus; the one that is already indexed costs nothing."""
        if corpus is self._corpus:
            return
        # Equal scores go to the larger id, as in mteb: sort by id downwards once, then sort stably by score.
        ids = corpus["id"][:]
        order = sorted(range(len(ids)), key=ids.__getitem__, reverse=True)
        texts = [text.strip() for text in corpus["text"][:]]
        self._ids = [ids[row] for row in order]
        self._vector_DW = self.vectors([texts[row] for row in order], task_metadata, PromptType.document)
        self._corpus = corpus

    def search(self, queries: Any, *, task_metadata: Any, top_k: int, **_: Any) -> dict[str, dict[str, float]]:
        """Rank the corpus for every query; the `top_k` best documents with their scores."""
        vector_QW = self.vectors(queries["text"][:], task_metadata, PromptType.query)
        score_QD = self.similarity(vector_QW, self._vector_DW).numpy()
        best_QK = np.argsort(-score_QD, axis=1, kind="stable")[:, :top_k]
        best_score_QK = np.take_along_axis(score_QD, best_QK, axis=1)
        return {
            query: {self._ids[row]: score for row, score in zip(rows, scores, strict=True)}
            for query, rows, scores in zip(queries["id"][:], best_QK.tolist(), best_score_QK.tolist(), strict=True)
        }
