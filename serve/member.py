"""A replica of one member: it holds the encoder and embeds batches of tokens, nothing else.

The model runs in one thread, so the replica's event loop answers health checks meanwhile and takes the next batch in.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from ray import serve

from polyglossa.model.chunks import chunk_by_tokens
from polyglossa.model.encoder import Encoder
from serve.courier import Reply
from serve.settings import MemberSettings


class Member:
    """The deployment class of every member."""

    def __init__(self, settings: dict[str, object]) -> None:
        """Load the model; the replica is ready when this returns."""
        self._settings = MemberSettings.model_validate(settings)
        torch.set_num_threads(self._settings.threads)
        self._encoder = Encoder.load(
            self._settings.path,
            dtype=self._settings.dtype,
            device="cuda" if self._settings.gpus else "cpu",
            max_tokens=self._settings.max_tokens,
        )
        self._replica = serve.get_replica_context().replica_id.unique_id
        self._thread = ThreadPoolExecutor(1, "model")
        self._embed([[0]])  # the first forward pass allocates; no request should pay for it

    async def embed(self, tokens: np.ndarray, lengths: list[int]) -> Reply:
        """Embed a batch.

        Args:
            tokens: int32 token ids of all texts, end to end.
            lengths: tokens of each text.
        """
        texts = [part.tolist() for part in np.split(tokens, np.cumsum(lengths)[:-1])]
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._embed, texts)

    def _embed(self, texts: list[list[int]]) -> Reply:
        started = time.perf_counter()
        state_ND = np.empty((len(texts), self._encoder.width), np.float32)
        slots = 0
        for chunk in chunk_by_tokens([len(text) for text in texts], self._settings.chunk_tokens):
            state_ND[chunk] = self._encoder.states([texts[index] for index in chunk]).numpy()
            slots += len(chunk) * max(len(texts[index]) for index in chunk)
        return Reply(state_ND, self._replica, time.perf_counter() - started, slots)
