"""The way of texts to one member and of states back: deduplicate → tokenise → queue → batch → member → states.

Runs on the ingress's event loop; tokenising runs in a thread. Few batches are under way at a time (two a replica: one
computed, one at hand), so texts wait here, where batches still grow, and one call to a replica carries many requests:
that hop costs milliseconds of processor, a text costs less.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from serve.problems import Problem
from serve.tokens import Tokens
from serve.waiting import Item, Waiting


@dataclass(frozen=True)
class Reply:
    """What a replica sends back for a batch of N texts."""

    state_ND: np.ndarray
    """Raw states, float32; a row that is not finite failed."""
    replica: str
    seconds: float
    """Time in the model."""
    slots: int
    """Padded tokens that the model computed."""


Send = Callable[[np.ndarray, list[int]], Awaitable[Reply]]
"""Takes the tokens of a batch end to end and their lengths."""


class Courier:
    """Everything between the endpoint and one member."""

    def __init__(self, send: Send, tokens: Tokens, *, batch_tokens: int, queue_items: int, calls: int = 2) -> None:
        self._send = send
        self._tokens = tokens
        self._batch_tokens = batch_tokens
        self._queue_items = queue_items
        self._calls = calls
        self._waiting = Waiting()
        self._under_way: dict[bytes, Item] = {}
        self._untokenised: list[tuple[list[tuple[Item, str]], str]] = []
        self._tokenising: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._thread = ThreadPoolExecutor(1, "tokens")

    async def states_of_texts(self, texts: Sequence[str], *, keep: str) -> tuple[np.ndarray, np.ndarray]:
        """Embed rendered texts; see `states_of_tokens` for what comes back and what is raised.

        Args:
            texts: rendered texts.
            keep: part of a too long text that stays, `start` or `end`.
        """
        fresh: list[tuple[Item, str]] = []
        items = []
        for text in texts:
            key = hashlib.blake2b(text.encode(), digest_size=16, key=keep.encode()).digest()
            item, new = self._item(key)
            items.append(item)
            if new:
                fresh.append((item, text))
        return await self._arrival(items, lambda: self._tokenise(fresh, keep))

    async def states_of_tokens(self, ids: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Embed tokenised texts, EOS last.

        Returns:
            state_ND (raw, float32) and the tokens of each text.

        Raises:
            Problem: 429 where too much waits, 424 where the member failed.
        """
        fresh: list[Item] = []
        items = []
        for tokens in ids:
            item, new = self._item(hashlib.blake2b(tokens.tobytes(), digest_size=16).digest())
            items.append(item)
            if new:
                item.tokens = tokens
                fresh.append(item)
        return await self._arrival(items, lambda: self._queue([fresh]))

    def _item(self, key: bytes) -> tuple[Item, bool]:
        item = self._under_way.get(key)
        if item is not None:
            item.wanted += 1
            return item, False
        item = Item(key, asyncio.get_running_loop().create_future(), wanted=1)
        self._under_way[key] = item
        item.state.add_done_callback(lambda _: self._under_way.pop(key, None))
        return item, True

    async def _arrival(self, items: list[Item], start: Callable[[], None]) -> tuple[np.ndarray, np.ndarray]:
        try:
            if len(self._under_way) > self._queue_items:
                raise Problem(429, "overloaded", "Too many texts wait for this model. Try again soon.", retry_after=1)
            start()
            states = [await asyncio.shield(item.state) for item in items]
        finally:
            self._leave(items)
        return np.stack(states), np.array([item.size for item in items])

    def _leave(self, items: list[Item]) -> None:
        for item in items:
            item.wanted -= 1
            if not item.wanted and not item.state.done():
                item.state.cancel()

    def _tokenise(self, fresh: list[tuple[Item, str]], keep: str) -> None:
        if fresh:
            self._untokenised.append((fresh, keep))
            if self._tokenising is None:
                self._tokenising = asyncio.create_task(self._tokenise_all())

    async def _tokenise_all(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._untokenised:
                # What arrived during the last turn goes in one turn.
                work, self._untokenised = self._untokenised, []
                await loop.run_in_executor(self._thread, self._tokenise_now, work)
                self._queue([[item for item, _ in fresh] for fresh, _ in work])
        finally:
            self._tokenising = None

    def _tokenise_now(self, work: list[tuple[list[tuple[Item, str]], str]]) -> None:
        encoded = iter(self._tokens.encode([text for fresh, _ in work for _, text in fresh]))
        for fresh, keep in work:
            for item, _ in fresh:
                item.tokens = self._tokens.fit(next(encoded), keep=keep)

    def _queue(self, requests: list[list[Item]]) -> None:
        for items in requests:
            self._waiting.add(items)
        self._dispatch()

    def _dispatch(self) -> None:
        while len(self._sending) < self._calls and self._waiting:
            batch = self._waiting.take(self._batch_tokens)
            task = asyncio.create_task(self._carry(batch))
            self._sending.add(task)
            task.add_done_callback(self._carried)

    def _carried(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._dispatch()

    async def _carry(self, batch: list[Item]) -> None:
        try:
            reply = await self._send(np.concatenate([item.tokens for item in batch]), [item.size for item in batch])
        except Problem as problem:
            for item in batch:
                _fail(item, problem)
            return
        finite_N = np.isfinite(reply.state_ND).all(axis=1)
        for row, item in enumerate(batch):
            if not finite_N[row]:
                _fail(item, Problem(424, "backend_failed", "The model could not embed one of the texts."))
            elif not item.state.done():
                item.state.set_result(reply.state_ND[row])

    async def close(self) -> None:
        """Stop: cancel what is under way and end the thread."""
        for task in [*self._sending, self._tokenising]:
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._thread.shutdown(cancel_futures=True)


def _fail(item: Item, problem: Problem) -> None:
    if not item.state.done():
        item.state.set_exception(problem)
        item.state.exception()  # marks it as seen: the requests that wanted it may be gone
