"""A replica of one member: it holds the encoder and embeds batches of tokens, nothing else.

The model runs in one thread, so the replica's event loop answers health checks meanwhile and takes the next batch in.
"""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from ray import serve

from polyglossa.model.chunks import chunk_by_tokens
from polyglossa.model.encoder import Encoder
from polyglossa.recipe.load import validate
from serve.courier import Reply
from serve.settings import MemberSettings


class Member:
    """The deployment class of every member."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Load the model; the replica is ready when this returns."""
        started = time.perf_counter()
        self._settings = validate(MemberSettings, settings, "serve")
        # The number of threads belongs to the thread that sets it, so the model's thread does.
        self._thread = ThreadPoolExecutor(1, "model", torch.set_num_threads, (self._settings.threads,))
        self._encoder = Encoder.load(
            self._settings.path,
            dtype=self._settings.dtype,
            device="cuda" if self._settings.gpus else "cpu",
            max_tokens=self._settings.max_tokens,
        )
        self._replica = serve.get_replica_context().replica_id.unique_id
        # The first forward pass allocates; no request should pay for it.
        self._thread.submit(self._embed, [[0] * 8], threading.Event()).result()
        self._start_seconds = time.perf_counter() - started

    async def embed(self, tokens: np.ndarray, lengths: list[int]) -> Reply:
        """Embed a batch; a call that is cancelled stops before its next forward pass.

        Args:
            tokens: int32 token ids of all texts, end to end.
            lengths: tokens of each text.
        """
        texts = [part.tolist() for part in np.split(tokens, np.cumsum(lengths)[:-1])]
        stopped = threading.Event()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._embed, texts, stopped)
        finally:
            stopped.set()

    def _embed(self, texts: list[list[int]], stopped: threading.Event) -> Reply:
        started = time.perf_counter()
        state_ND = np.full((len(texts), self._encoder.width), np.nan, np.float32)
        slots = 0
        for chunk in chunk_by_tokens([len(text) for text in texts], self._settings.forward_tokens):
            if stopped.is_set():
                break
            state_ND[chunk] = self._states([texts[index] for index in chunk])
            slots += len(chunk) * max(len(texts[index]) for index in chunk)
        return Reply(state_ND, self._replica, time.perf_counter() - started, slots, self._start_seconds)

    def _states(self, texts: list[list[int]]) -> np.ndarray:
        """Embed one chunk; where it fails, each text alone, so that a bad one costs itself (its row is NaN)."""
        try:
            return self._encoder.states(texts, chunk_tokens=max(map(len, texts)) * len(texts)).numpy()
        except Exception:
            if len(texts) == 1:
                return np.full((1, self._encoder.width), np.nan, np.float32)
            return np.concatenate([self._states([text]) for text in texts])
