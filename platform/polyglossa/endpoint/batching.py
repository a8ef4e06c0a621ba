"""Cut texts into requests by count and by bytes, and learn from refusals how much one request may hold."""

from collections.abc import Iterator, Sequence


class RequestLimits:
    """The most that one request holds. Shared by the requests in flight; limits only ever fall."""

    def __init__(self, most_texts: int, most_bytes: int) -> None:
        self.most_texts, self.most_bytes = most_texts, most_bytes

    def cut(self, sizes: Sequence[int], start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Cut a run of texts into spans that one request may hold.

        Args:
            sizes: bytes of every text.
            start: first text of the run.
            stop: end of the run.

        Yields:
            (begin, end); limits that fall meanwhile hold from the next span on. A larger text travels alone.
        """
        begin = start
        while begin < stop:
            end, room = begin + 1, self.most_bytes - sizes[begin]
            while end < stop and end - begin < self.most_texts and sizes[end] <= room:
                room -= sizes[end]
                end += 1
            yield begin, end
            begin = end

    def shrink(self, texts: int, size: int, *, counts: bool) -> None:
        """Halve a limit after a refusal.

        Args:
            texts: how many texts were refused together.
            size: their bytes.
            counts: whether they were too many; otherwise they were too large.
        """
        if counts:
            self.most_texts = min(self.most_texts, max(texts // 2, 1))
        else:
            self.most_bytes = min(self.most_bytes, max(size // 2, 1))
