"""Batches to a member's replicas: through a Serve handle, once more where one died, or to one in this process."""

import asyncio
import logging
from typing import Protocol

import numpy as np
from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from polyglossa.serving.batching.messages import Reply
from polyglossa.serving.errors import ApiError

_log = logging.getLogger("ray.serve")  # goes to the replica's log file


class ReplicaHandle:
    """The replicas of one member."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def send(self, tokens: np.ndarray, lengths: list[int], task: str | None = None) -> Reply:
        """Have a batch embedded.

        Raises:
            Problem: 424, two replicas in a row died under it, or one failed.
        """
        for attempt in range(2):
            response = self._handle.embed.remote(tokens, lengths, task)
            try:
                return await response
            except RayActorError as error:
                _log.warning("a replica died under a batch (%s, attempt %d)", type(error).__name__, attempt + 1)
            except (RayError, RayServeException) as error:
                _log.warning("a batch failed: %s", type(error).__name__)
                break
            except asyncio.CancelledError:
                response.cancel()
                raise
        raise ApiError(424, "backend_failed", "The model's replica failed. Try again.", retry_after=1)


class Embeds(Protocol):
    """A replica of a member."""

    async def embed(self, tokens: np.ndarray, lengths: list[int], task: str | None = None) -> Reply:
        """Embed a batch."""


class LocalReplica:
    """A member in this process."""

    def __init__(self, replica: Embeds) -> None:
        self._replica = replica

    async def send(self, tokens: np.ndarray, lengths: list[int], task: str | None = None) -> Reply:
        """Have a batch embedded.

        Raises:
            Problem: 424, the model failed.
        """
        try:
            return await self._replica.embed(tokens, lengths, task)
        except ApiError:
            raise
        except Exception as error:
            _log.warning("a batch failed: %s", type(error).__name__)
            raise ApiError(424, "backend_failed", "The model failed. Try again.", retry_after=1) from None
