"""A replica of one reranker, and how the ingress asks it."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from polyglossa.recipe.load import validate
from polyglossa.serving.errors import ApiError
from polyglossa.serving.settings import RerankerSettings
from polyglossa.storage import cached_folder

_log = logging.getLogger("ray.serve")


class RerankerReplica:
    """The deployment class of every reranker."""

    def __init__(self, settings: dict[str, Any]) -> None:
        import torch

        from polyglossa.serving.rerank.cross_encoder import CrossEncoder

        checked = validate(RerankerSettings, settings, "serve")
        self._pool = ThreadPoolExecutor(checked.threads, "reranker", torch.set_num_threads, (1,))
        device = "cuda" if checked.gpus else "cpu"
        self._model = CrossEncoder(cached_folder(checked.path), device=device, max_tokens=checked.max_tokens)

    async def score(self, query: str, texts: list[str]) -> np.ndarray:
        """Score texts for a query."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._model.score, query, texts)


class RerankerHandle:
    """The replicas of one reranker."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def score(self, query: str, texts: Sequence[str]) -> np.ndarray:
        """Have texts scored, once more where a replica died.

        Raises:
            Problem: 424, two replicas in a row died, or one failed.
        """
        for _ in range(2):
            try:
                scores_N: np.ndarray = await self._handle.score.remote(query, list(texts))
                return scores_N
            except RayActorError as error:
                _log.warning("a reranker died under a request (%s)", type(error).__name__)
            except (RayError, RayServeException) as error:
                _log.warning("a reranker failed: %s", type(error).__name__)
                break
        raise ApiError(424, "backend_failed", "The reranker failed. Try again.", retry_after=1)
