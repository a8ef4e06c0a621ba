"""Batch texts for one member and return states: deduplicate → tokenise → queue → batch → member → states.

Runs on the ingress's event loop; tokenising runs in threads. Few batches are under way at a time (two a replica: one
computed, one at hand), so texts wait here, where batches still grow, and one call to a replica carries many requests:
that hop costs milliseconds of processor, a text costs less.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from polyglossa.serving.batching.messages import Reply, Send
from polyglossa.serving.batching.scheduler import Item, Scheduler
from polyglossa.serving.batching.single_flight import SingleFlight
from polyglossa.serving.batching.thread_batcher import ThreadBatcher
from polyglossa.serving.batching.tokens import Keep, Tokens
from polyglossa.serving.errors import ApiError
from polyglossa.serving.metrics import Metrics
from polyglossa.serving.settings import Limits, MemberSettings

_SHORT_CHARACTERS = 2048  # as much is tokenised in about a tenth of a millisecond
_LONG_CHARACTERS = 8192  # such texts are tokenised in a thread of their own, so that short ones need not wait
_REPLICA_SEEN_SECONDS = 10.0
_log = logging.getLogger("ray.serve")  # goes to the replica's log file


Fresh = tuple[list[tuple[Item, str]], Keep]
"""The texts of a request that nobody asked for yet."""


class Batcher:
    """Everything between the endpoint and one member."""

    def __init__(
        self, member: MemberSettings, tokens: Tokens, send: Send, limits: Limits, metrics: Metrics, cache_mib: int = 0
    ) -> None:
        self._member, self._tokens, self._send, self._limits, self._metrics = member, tokens, send, limits, metrics
        self._waiting = Scheduler()
        self._asked = SingleFlight(cache_mib)
        metrics.waiting.labels(member.name).set_function(lambda: len(self._asked))
        self._short = ThreadBatcher[Fresh](self._tokenise, self._tokenise_pieces)
        self._long = ThreadBatcher[Fresh](self._tokenise, self._tokenise_pieces)
        self._sending: set[asyncio.Task[None]] = set()
        self._replicas: dict[str, float] = {}
        self.ready = member.replicas.min == 0
        """Whether a replica has answered, or may be asked to start by a request."""
        self.start_seconds: float | None = None
        """How long the last replica that answered took to load."""
        self.engine: Mapping[str, Any] = {}
        """What the last replica that answered computes with."""

    async def states_of_texts(self, texts: Sequence[str], keep: Keep) -> tuple[np.ndarray, np.ndarray]:
        """Embed rendered texts; see `states_of_tokens` for what comes back and what is raised."""
        salt = keep.encode()
        keys = [hashlib.blake2b(text.encode(), digest_size=16, key=salt).digest() for text in texts]
        items, fresh = self._items(keys)
        lane = self._long if any(len(texts[row]) > _LONG_CHARACTERS for row in fresh) else self._short
        work: Fresh = ([(items[row], texts[row]) for row in fresh], keep)
        if self._is_alone(fresh) and sum(len(texts[row]) for row in fresh) <= _SHORT_CHARACTERS:
            return await self._arrival(items, lambda: self._tokenise_here(work))
        return await self._arrival(items, lambda: lane.add(work))

    async def states_of_tokens(self, ids: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Embed tokenised texts, EOS last.

        Returns:
            state_ND (raw, float32) and the tokens of each text.

        Raises:
            Problem: 413 too many tokens, 424 the member failed, 429 too much waits, 503 starting or too slow.
        """
        items, fresh = self._items([hashlib.blake2b(tokens.tobytes(), digest_size=16).digest() for tokens in ids])
        for row in fresh:
            items[row].tokens = ids[row]
        return await self._arrival(items, lambda: self._queue([items[row] for row in fresh]))

    async def await_replica(self) -> None:
        """Ask for one embedding until a replica answers; then the batcher is ready."""
        while not self.ready:
            try:
                self._note(await self._send(self._tokens.blank, [len(self._tokens.blank)]))
            except ApiError as problem:
                _log.info("%s: not ready (%s)", self._member.name, problem.code)
                await asyncio.sleep(0.5)

    def _items(self, keys: Sequence[bytes]) -> tuple[list[Item], list[int]]:
        """Return an item for each key, and the rows whose item is new."""
        items, fresh = self._asked.join(keys)
        self._metrics.shared.labels(self._member.name).inc(len(keys) - len(fresh))
        return items, fresh

    async def _arrival(self, items: list[Item], start: Callable[[], None]) -> tuple[np.ndarray, np.ndarray]:
        try:
            if not self.ready:
                raise ApiError(503, "starting", "This model is starting. Try again soon.", retry_after=2)
            if len(self._asked) > self._limits.queue_items:
                raise ApiError(429, "overloaded", "Too many texts wait for this model. Try again soon.", retry_after=1)
            start()
            async with asyncio.timeout(self._limits.request_seconds):
                states = [await asyncio.shield(item.state) for item in items]
        except TimeoutError:
            raise ApiError(503, "timeout", "The answer took too long. Try again later.", retry_after=5) from None
        finally:
            self._asked.leave(items)
        tokens_N = np.array([item.size for item in items])
        self._metrics.tokens.labels(self._member.name).inc(int(tokens_N.sum()))
        return np.stack(states), tokens_N

    def _is_alone(self, fresh: Sequence[int]) -> bool:
        """Whether nothing but these new texts is under way: then there is nothing to batch them with."""
        return len(self._asked) == len(fresh) and not self._sending

    def _tokenise_here(self, piece: Fresh) -> None:
        """Tokenise on the event loop: a short text costs less than handing it to a thread and back."""
        try:
            self._tokenise([piece])
        finally:
            self._tokenise_pieces([piece])

    def _tokenise(self, pieces: list[Fresh]) -> None:
        encoded = iter(self._tokens.encode([text for fresh, _ in pieces for _, text in fresh]))
        for fresh, keep in pieces:
            for item, _ in fresh:
                item.tokens = next(encoded)
                try:
                    item.tokens = self._tokens.fit(item.tokens, keep)
                except ApiError as problem:
                    item.problem = problem

    def _tokenise_pieces(self, pieces: list[Fresh]) -> None:
        for fresh, _ in pieces:
            items = [item for item, _ in fresh]
            total = sum(item.tokens.size for item in items)
            if total > self._limits.request_tokens:
                message = f"{total} tokens are more than the {self._limits.request_tokens} of one request."
                alone = [item for item in items if item.wanted == 1]  # others may ask for some of these texts too
                _fail(alone, ApiError(413, "too_many_tokens", message, param="input"))
            for item in items:
                if item.problem is None and not item.tokens.size:  # the thread broke off
                    item.problem = ApiError(400, "untokenisable", "A text could not be tokenised.", param="input")
                if item.problem is not None:
                    _fail([item], item.problem)
            self._queue([item for item in items if not item.state.done()])

    def _queue(self, items: list[Item]) -> None:
        now = time.monotonic()
        for item in items:
            item.size, item.since = int(item.tokens.size), now
        self._waiting.add(items)
        self._dispatch()

    def _calls(self) -> int:
        """Batches that may be under way: two a replica, and one more where another replica may come."""
        now = time.monotonic()
        self._replicas = {name: seen for name, seen in self._replicas.items() if now - seen < _REPLICA_SEEN_SECONDS}
        known = max(len(self._replicas), 1)
        return 2 * known + (known < self._member.replicas.max)

    def _dispatch(self) -> None:
        while len(self._sending) < self._calls() and self._waiting:
            batch = self._waiting.take(self._member.batch_tokens)
            task = asyncio.create_task(self._carry(batch))
            self._sending.add(task)
            task.add_done_callback(self._finish_batch)

    def _finish_batch(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._dispatch()

    async def _carry(self, batch: list[Item]) -> None:
        self._observe(batch)
        call = asyncio.ensure_future(
            self._send(np.concatenate([item.tokens for item in batch]), [item.size for item in batch])
        )

        def call_back(_: object) -> None:
            if not call.done() and not any(item.wanted for item in batch):
                call.cancel()  # nobody waits for this batch any more

        for item in batch:
            item.state.add_done_callback(call_back)
        outcome = "ok"
        try:
            self._deliver(batch, await call)
        except ApiError as problem:
            outcome = problem.code
            _fail(batch, problem)
        except asyncio.CancelledError:
            outcome = "cancelled"
            _fail(batch, ApiError(503, "stopping", "The endpoint is stopping. Try again.", retry_after=1))
        except Exception:
            outcome = "failed"
            _log.exception("%s: a batch failed", self._member.name)
            _fail(batch, ApiError(424, "backend_failed", "The model failed. Try again.", retry_after=1))
        self._metrics.batches.labels(self._member.name, outcome).inc()

    def _deliver(self, batch: list[Item], reply: Reply) -> None:
        if reply.tokenizer != self._tokens.digest:
            raise ApiError(503, "replacing", "This model is being replaced. Try again.", retry_after=1)
        self._note(reply)
        finite_N = np.isfinite(reply.state_ND).all(axis=1)
        for row, item in enumerate(batch):
            if not finite_N[row]:
                _fail([item], ApiError(424, "backend_failed", "The model could not embed one of the texts."))
            elif not item.state.done():
                self._asked.arrived(item, reply.state_ND[row])
        name = self._member.name
        self._metrics.model_seconds.labels(name).inc(reply.seconds)
        self._metrics.slots.labels(name).inc(reply.slots)
        self._metrics.padding.labels(name).inc(max(reply.slots - sum(item.size for item in batch), 0))

    def _note(self, reply: Reply) -> None:
        self._replicas[reply.replica] = time.monotonic()
        self.start_seconds, self.engine = reply.start_seconds, reply.engine
        self.ready = True

    def _observe(self, batch: list[Item]) -> None:
        name = self._member.name
        self._metrics.queue_seconds.labels(name).observe(time.monotonic() - min(item.since for item in batch))
        self._metrics.batch_fill.labels(name).observe(sum(item.size for item in batch) / self._member.batch_tokens)
        self._metrics.batch_texts.labels(name).inc(len(batch))

    async def close(self) -> None:
        """Stop: cancel what is under way and end the threads."""
        for task in list(self._sending):
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        self._short.close()
        self._long.close()


def _fail(items: list[Item], problem: ApiError) -> None:
    for item in items:
        if not item.state.done():
            item.state.set_exception(problem)
            item.state.exception()  # marks it as seen: the requests that wanted it may be gone
