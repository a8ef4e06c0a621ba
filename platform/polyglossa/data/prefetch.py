"""Prefetch batches in a thread: the feed starts while the model loads, and unpacks while it computes."""

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import torch

from polyglossa.data.batch import RankBatch

_DEPTH = 2


class PrefetchedBatches:
    """An iterator over batches that are taken ahead from the moment it is made; close it when it is left early.

    `wait_seconds` of a batch is how long the trainer waited for it here.
    """

    def __init__(self, batches: Iterator[RankBatch], *, depth: int = _DEPTH, device: str = "cpu") -> None:
        """Begin to take batches.

        Args:
            batches: where they come from.
            depth: most batches that are ready.
            device: where they are wanted; a GPU copies them on a stream of its own while it computes.
        """
        self._ready: queue.Queue[RankBatch | BaseException | None] = queue.Queue(depth)
        self._closed = threading.Event()
        self._placing = _Placing(device) if device != "cpu" else None
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
            if self._placing is not None:
                self._placing.take(item)
            yield replace(item, wait_seconds=time.perf_counter() - began)

    def close(self) -> None:
        """Stop taking; batches that are ready are dropped."""
        self._closed.set()

    def _take(self, batches: Iterator[RankBatch]) -> None:
        try:
            for batch in batches:
                if not self._put(batch if self._placing is None else self._placing.place(batch)):
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


class _Placing:
    """Copies batches to a GPU on a stream of its own."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._stream: torch.cuda.Stream | None = None

    def place(self, batch: RankBatch) -> RankBatch:
        """Begin to copy; called in the thread that takes ahead, which makes the stream with its first batch."""
        self._stream = self._stream or torch.cuda.Stream(self._device)
        with torch.cuda.stream(self._stream):
            return batch.to(self._device)

    def take(self, batch: RankBatch) -> None:
        """Let the trainer's stream wait for the copies, and their memory for the trainer's stream."""
        assert self._stream is not None
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._stream)
        tensors = [value for value in vars(batch).values() if isinstance(value, torch.Tensor)]
        for tensor in (*tensors, *(chunk.tokens for chunk in batch.chunks)):
            tensor.record_stream(current)
