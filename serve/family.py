"""The served members as the ingress sees them: names, cards, and a courier to each."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.handle import DeploymentHandle

from serve.courier import Courier, Reply
from serve.problems import Problem
from serve.settings import AppSettings
from serve.tokens import ModelCard, Tokens, read_card


@dataclass(frozen=True)
class Served:
    """One member in the ingress."""

    name: str
    card: ModelCard
    tokens: Tokens
    courier: Courier


class Family:
    """All members by name and alias."""

    def __init__(self, settings: AppSettings, handles: Mapping[str, DeploymentHandle]) -> None:
        self.members: dict[str, Served] = {}
        self.aliases = settings.aliases
        for member in settings.members:
            card = read_card(member.path, member.max_tokens)
            tokens = Tokens(member.path, card)
            courier = Courier(
                Replicas(handles[member.name]).send,
                tokens,
                batch_tokens=member.batch_tokens,
                queue_items=settings.limits.queue_items,
            )
            self.members[member.name] = Served(member.name, card, tokens, courier)

    def find(self, model: str) -> Served:
        """Look a member up by name or alias.

        Raises:
            Problem: 404, nothing is served under that name.
        """
        name = self.aliases.get(model, model)
        if name not in self.members:
            known = ", ".join([*self.members, *self.aliases])
            raise Problem(
                404, "model_not_found", f"No model of that name is served here; there are {known}.", param="model"
            )
        return self.members[name]


class Replicas:
    """Sends batches to a member's replicas, once more where a replica died under one."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def send(self, tokens: np.ndarray, lengths: list[int]) -> Reply:
        """Have a batch embedded.

        Raises:
            Problem: 424, two replicas in a row did not answer.
        """
        for _ in range(2):
            response = self._handle.embed.remote(tokens, lengths)
            try:
                return await response
            except RayActorError:
                continue
            except RayTaskError:
                break
            except asyncio.CancelledError:
                response.cancel()
                raise
        raise Problem(424, "backend_failed", "The model's replica failed. Try again.", retry_after=1)
