"""Prefetch batches in a thread: the feed starts while the model loads, and unpacks while it computes."""

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from polyglossa.data.batch import RankBatch

_DEPTH = 2


class PrefetchedBatches:
    """An iterator over batches that are taken ahead from the moment it is made; close it when it is left early.

    `wait_seconds` of a batch is how long the trainer waited for it here.
    """

    def __init__(self, batches: Iterator[RankBatch], *, depth: int = _DEPTH) -> None:
        self._ready: queue.Queue[RankBatch | BaseException | None] = queue.Queue(depth)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._take, args=(batches,), daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[RankBatch]:
        while True:
            began = time.perf_counter()
            item = self._ready.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield replace(item, wait_seconds=time.perf_counter() - began)

    def close(self) -> None:
        """Stop taking; batches that are ready are dropped."""
        self._closed.set()

    def _take(self, batches: Iterator[RankBatch]) -> None:
        try:
            for batch in batches:
                if not self._put(batch):
                    return
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _put(self, item: RankBatch | BaseException | None) -> bool:
        while not self._closed.is_set():
            try:
                self._ready.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False
