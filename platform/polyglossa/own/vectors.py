"""Unit vectors of queries and documents by one model, read from a run's vector store where they lie there."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from polyglossa.embedding.state_sources import open_model
from polyglossa.evaluate.models.states import StateTable, StoredEmbed
from polyglossa.model.encoder import finish
from polyglossa.model.instructions import pinned_prompts
from polyglossa.vectors import VectorStore

Floats = npt.NDArray[np.float32]


class StoredVectors:
    """A model whose vectors are kept; texts go behind the prompts that it pins."""

    def __init__(
        self, model: str, root: str, *, device: str = "cpu", dtype: str = "float32", max_tokens: int | None = None
    ) -> None:
        """Open a model directory.

        Args:
            model: the directory.
            root: storage root, whose vector store is read and added to.
            device: torch device.
            dtype: precision.
            max_tokens: longest text; None takes the model's own limit.
        """
        source = open_model(model, dtype=dtype, device=device, max_tokens=max_tokens)
        store = VectorStore(root, source.fingerprint)
        self._states = StateTable(StoredEmbed(source.embed, store, source.confirm))
        self._query_prompt, self._document_prompt = pinned_prompts(source.prompts)

    def queries(self, texts: Sequence[str]) -> Floats:
        """Return unit vectors [N, D] of queries."""
        return self._vectors([self._query_prompt + text for text in texts])

    def documents(self, texts: Sequence[str]) -> Floats:
        """Return unit vectors [N, D] of documents."""
        return self._vectors([self._document_prompt + text for text in texts])

    def _vectors(self, texts: Sequence[str]) -> Floats:
        return finish(torch.from_numpy(self._states(texts))).numpy()
