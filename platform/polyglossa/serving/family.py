"""The served members as the endpoint sees them: names, cards, and a batcher to each."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from polyglossa.serving.batching.batcher import Batcher
from polyglossa.serving.batching.messages import Send
from polyglossa.serving.batching.tokens import ModelCard, Tokens, read_card
from polyglossa.serving.documents import Documents
from polyglossa.serving.errors import ApiError
from polyglossa.serving.metrics import Metrics
from polyglossa.serving.rerank.scoring import Score
from polyglossa.serving.settings import AppSettings
from polyglossa.storage import cached_folder

_PATIENCE_SECONDS = 3.0


@dataclass(frozen=True)
class Served:
    """One member at the endpoint."""

    name: str
    card: ModelCard
    tokens: Tokens
    batcher: Batcher
    tasks: Mapping[str, Batcher]
    """Task → what batches for its adapter."""

    def batcher_of(self, task: str | None) -> Batcher:
        """Look up what batches for a task; None is the model without an adapter.

        Raises:
            ApiError: 422, it has no such task.
        """
        if task is None:
            return self.batcher
        if task not in self.tasks:
            none = f"{self.name} has no task adapters; set input_type or instruction"
            has = f"{self.name} has {', '.join(self.tasks)}" if self.tasks else none
            raise ApiError(422, "invalid_field", f"task: {task!r} is not served; {has}.", param="task")
        return self.tasks[task]


class Family:
    """All members by name and alias.

    Args:
        settings: the application's arguments.
        sends: member → how its batches are sent.
        metrics: where batchers count.
        rerankers: reranker → how it scores texts for a query.
    """

    def __init__(
        self,
        settings: AppSettings,
        sends: Mapping[str, Send],
        metrics: Metrics,
        rerankers: Mapping[str, Score] | None = None,
    ) -> None:
        self.members: dict[str, Served] = {}
        self.rerankers = dict(rerankers or {})
        """Reranker → how it scores."""
        self.documents = None if settings.documents is None else Documents(settings.documents)
        """What `/v1/search` searches."""
        self._settings = settings
        self._starting: list[asyncio.Task[None]] = []
        for member in settings.members:
            path = cached_folder(member.path)
            card = read_card(path, member.max_tokens)
            tokens = Tokens(path, card)
            common = settings.limits, metrics, settings.cache_mib // (1 + len(card.tasks))
            send = sends[member.name]
            batcher = Batcher(member, tokens, send, *common)
            tasks = {
                task: Batcher(member.changed(name=f"{member.name}/{task}"), tokens, partial(send, task=task), *common)
                for task in card.tasks
            }
            self.members[member.name] = Served(member.name, card, tokens, batcher, tasks)

    @property
    def names(self) -> list[str]:
        """Names of members, then aliases."""
        return [*self.members, *self._settings.aliases]

    @property
    def ready(self) -> bool:
        """Whether every member answers."""
        return all(served.batcher.ready for served in self.members.values())

    def find(self, model: str | None) -> Served:
        """Look a member up by name or alias; None is the first.

        Raises:
            Problem: 404, nothing is served under that name.
        """
        name = self._settings.members[0].name if model is None else self._settings.aliases.get(model, model)
        if name not in self.members:
            message = f"No model of that name is served here; there are {', '.join(self.names)}."
            raise ApiError(404, "model_not_found", message, param="model")
        return self.members[name]

    def find_reranker(self, model: str | None) -> str:
        """Name a reranker; None is the first.

        Raises:
            Problem: 404, there is none of that name.
        """
        name = next(iter(self.rerankers)) if model is None else model
        if name not in self.rerankers:
            message = f"No reranker of that name is served here; there are {', '.join(self.rerankers)}."
            raise ApiError(404, "model_not_found", message, param="model")
        return name

    def describe(self, name: str) -> dict[str, object]:
        """Tell what `/v1/models` tells of a member or alias."""
        served = self.find(name)
        pairs = [pair for pair in self._settings.compatible if served.name in pair]
        return {
            "id": name,
            "object": "model",
            "owned_by": "polyglossa",
            "member": served.name,
            "width": served.card.width,
            "widths": served.card.widths,
            "max_tokens": served.card.max_tokens,
            "prompts": served.card.prompts,
            "tasks": served.card.tasks,
            "engine": dict(served.batcher.engine) or None,
            "documents": len(self.documents) if self.documents is not None and self.documents.has(served.name) else 0,
            "compatible_with": sorted({one for pair in pairs for one in pair} - {served.name}),
        }

    async def start(self) -> None:
        """Begin to ask members whether they are there, and wait a little for them.

        A new ingress before running members, as every redeployment brings, must not refuse its first requests.
        """
        self._starting = [asyncio.create_task(batcher.await_replica()) for batcher in self._batchers()]
        await asyncio.wait(self._starting, timeout=_PATIENCE_SECONDS)

    async def close(self) -> None:
        """Stop all batchers."""
        for task in self._starting:
            task.cancel()
        for batcher in self._batchers():
            await batcher.close()

    def _batchers(self) -> list[Batcher]:
        return [batcher for served in self.members.values() for batcher in (served.batcher, *served.tasks.values())]
