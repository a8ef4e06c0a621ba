"""Print progress to the terminal: a live line per stage, a summary line after it, library output in a file.

`console()` routes everything that other libraries write to the terminal (by any route, file descriptors included) into
a log file and keeps the real terminal for us. Without it, `track` and `say` do nothing, so stages call them freely.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

_SHOW_AFTER_SECONDS = 2.0
_PLAIN_EVERY_SECONDS = 30.0
_WHOLE_RATE = 10.0
# Work after the first piece, and seconds, before a rate says how long is left: one slow step foretold 30,441 s of 400.
_MEASURED_WORK = 4
_MEASURED_SECONDS = 5.0
_console: Console | None = None
_thread = threading.local()
_said: set[str] = set()


class Bar:
    """Progress of one piece of work; safe to advance from any thread."""

    def __init__(self, name: str, total: float | None, unit: str) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.done = 0.0
        self.text = ""
        self.started = time.monotonic()
        self._first: tuple[float, float] | None = None
        self._lock = threading.Lock()

    def advance(self, amount: float = 1) -> None:
        """Count work as done, in the bar's unit."""
        if not amount:
            return
        with self._lock:
            self.done += amount
            if self._first is None:
                self._first = (time.monotonic(), self.done)

    def note(self, text: str) -> None:
        """Show a short text behind the bar (the loss, a source's name)."""
        self.text = text

    def line(self) -> str:
        """The bar as one line of text."""
        seconds = time.monotonic() - self.started
        rate, measured = self._rate()
        if not self.total:
            return f"  {self.name:<26} {self.done:>10,.0f} {self.unit}  {seconds:5.0f} s  {self.text}"
        share = min(1.0, self.done / self.total)
        filled = "━" * round(24 * share)
        speed = f"{rate:,.0f}" if rate >= _WHOLE_RATE else f"{rate:.1f}"
        pace = f"{speed:>9} {self.unit}/s" if rate > 0 else ""
        left = f"{(self.total - self.done) / rate:4.0f} s left" if measured and share < 1 else ""
        return f"  {self.name:<26} {filled:<24} {share:4.0%} {pace:<{12 + len(self.unit)}}  {left:<11}  {self.text}"

    def _rate(self) -> tuple[float, bool]:
        """Work a second since the first piece (before it is the start, or what an earlier run had done).

        Returns:
            The rate, and whether it is of enough work and seconds to tell how long the rest takes.
        """
        with self._lock:
            since, before = self._first or (self.started, 0.0)
            done = self.done - before
        seconds = time.monotonic() - since
        rate = done / seconds if seconds else 0.0
        return rate, rate > 0 and done >= _MEASURED_WORK and seconds >= _MEASURED_SECONDS

    def __rich__(self) -> Text:
        if time.monotonic() - self.started < _SHOW_AFTER_SECONDS:
            return Text("")
        return Text(self.line(), no_wrap=True, overflow="ellipsis")


@contextmanager
def track(name: str, total: float | None = None, unit: str = "rows") -> Iterator[Bar]:
    """Show a live line for work that takes longer than two seconds.

    Args:
        name: what is being done.
        total: how much there is, in `unit`; None where that is not known.
        unit: what is counted.
    """
    bar = Bar(name, total, unit)
    if _console is None or getattr(_thread, "unseen", False):
        yield bar
    elif _console.is_terminal:
        with Live(bar, console=_console, refresh_per_second=4, transient=True):
            yield bar
    else:
        with _plain_lines(bar, _console):
            yield bar


@contextmanager
def unseen() -> Iterator[None]:
    """Show no live lines of this thread: its work goes on beside what is shown."""
    _thread.unseen = True
    try:
        yield
    finally:
        _thread.unseen = False


@contextmanager
def _plain_lines(bar: Bar, console: Console) -> Iterator[None]:
    """Off a terminal, a line every half minute says that work goes on."""
    stopped = threading.Event()

    def beat() -> None:
        while not stopped.wait(_PLAIN_EVERY_SECONDS):
            console.print(Text(bar.line().rstrip()), soft_wrap=True)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def say(text: object = "", style: str | None = None) -> None:
    """Print a line (or a rich renderable) to the person's terminal."""
    if _console is not None:
        _console.print(text, style=style, soft_wrap=isinstance(text, str), highlight=False)


def say_once(text: str) -> None:
    """Print a line to the person's terminal unless it stands there already."""
    if text not in _said:
        _said.add(text)
        say(text, style="dim")


@contextmanager
def open_console(log_file: Path) -> Iterator[Console]:
    """Keep the terminal for `say` and `track`; send all other output of this process and its children to a log file."""
    global _console
    log_file.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    terminal, errors = os.dup(1), os.dup(2)
    with open(log_file, "ab", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    stream = os.fdopen(os.dup(terminal), "w", buffering=1, encoding="utf-8", errors="replace")
    try:
        _console = Console(file=stream, force_terminal=os.isatty(terminal) or None)
        yield _console
    finally:
        _console = None
        _said.clear()
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(terminal, 1)
        os.dup2(errors, 2)
        os.close(terminal)
        os.close(errors)
        stream.close()
