"""A replica of one member: it holds an engine and embeds batches of tokens, nothing else.

Forward passes of a batch run side by side, each in a thread of its own with one torch thread: passes over small models
are too short to be split, and threads that wait for each other inside one pass lose where a core is shared (a single
text took 4 ms with one torch thread and 17 ms with two, on two busy cores). The event loop answers health checks
meanwhile and takes the next batch in.
"""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from ray import serve

from polyglossa.model.pass_plan import cut_passes
from polyglossa.recipe.load import validate
from polyglossa.serving.batching.messages import Reply
from polyglossa.serving.settings import MemberSettings
from polyglossa.storage import cached_folder

_log = logging.getLogger("ray.serve")


class MemberReplica:
    """The deployment class of every member."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Load the model; the replica is ready when this returns."""
        # Whoever deploys the class loads neither torch nor a model's code.
        import torch

        from polyglossa.engines.choose import open_engine
        from polyglossa.serving.batching.tokens import tokenizer_digest

        started = time.perf_counter()
        self._settings = validate(MemberSettings, settings, "serve")
        self._threads = 1 if self._settings.gpus else self._settings.threads
        # The number of torch threads belongs to the thread that sets it.
        self._pool = ThreadPoolExecutor(self._threads, "model", torch.set_num_threads, (1,))
        path = cached_folder(self._settings.path)
        self._engine = open_engine(path, self._settings.engine_spec)
        self._tokenizer = tokenizer_digest(path)
        self._replica = serve.get_replica_context().replica_id.unique_id
        # The first forward pass allocates; no request should pay for it.
        list(self._pool.map(self._pass, [[[0] * 8]] * self._threads))
        self._start_seconds = time.perf_counter() - started

    async def embed(self, tokens: np.ndarray, lengths: list[int], task: str | None = None) -> Reply:
        """Embed a batch; where the call is cancelled, passes that have not begun are dropped.

        Args:
            tokens: int32 token ids of all texts, end to end.
            lengths: tokens of each text.
            task: whose adapter is used; None uses none.
        """
        texts = [part.tolist() for part in np.split(tokens, np.cumsum(lengths)[:-1])]
        cut = cut_passes(lengths, self._settings.forward_tokens)
        loop = asyncio.get_running_loop()
        passes = [loop.run_in_executor(self._pool, self._pass, [texts[index] for index in rows], task) for rows in cut]
        state_ND = np.empty((len(texts), self._engine.width), np.float32)
        seconds = 0.0
        for rows, (state_BD, took) in zip(cut, await asyncio.gather(*passes), strict=True):
            state_ND[rows] = state_BD
            seconds += took
        slots = sum(self._engine.slots([lengths[index] for index in rows]) for rows in cut)
        known = (self._replica, self._tokenizer, seconds, slots, self._start_seconds, self._engine.about)
        return Reply(state_ND, *known)

    def _pass(self, texts: list[list[int]], task: str | None = None) -> tuple[np.ndarray, float]:
        started = time.perf_counter()
        return self._states(texts, task), time.perf_counter() - started

    def _states(self, texts: list[list[int]], task: str | None) -> np.ndarray:
        """Embed one pass; where it fails, each text alone, so that a bad one costs itself (its row is NaN)."""
        try:
            state_BD: np.ndarray = self._engine.states(texts, task)
        except Exception:
            _log.exception("a pass over %d texts failed", len(texts))
            if len(texts) == 1:
                return np.full((1, self._engine.width), np.nan, np.float32)
            return np.concatenate([self._states([text], task) for text in texts])
        return state_BD
