"""Run work in a thread, batching what arrives during one turn for the next."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class ThreadBatcher(Generic[T]):
    """One thread and the work that waits for it.

    Args:
        work: does all that waits, in the thread.
        done: told of it, on the event loop; also where `work` raised.
    """

    def __init__(self, work: Callable[[list[T]], None], done: Callable[[list[T]], None]) -> None:
        self._work, self._done = work, done
        self._pending: list[T] = []
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "lane")

    def add(self, piece: T) -> None:
        """Have a piece of work done."""
        self._pending.append(piece)
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._pending:
                pieces, self._pending = self._pending, []
                try:
                    await loop.run_in_executor(self._thread, self._work, pieces)
                finally:
                    self._done(pieces)
        finally:
            self._task = None

    def close(self) -> None:
        """End the thread."""
        if self._task is not None:
            self._task.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)
