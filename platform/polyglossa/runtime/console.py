"""Print progress to the terminal: a live line per piece of work, a summary line after it, library output in a file.

`open_console` routes everything that other libraries write to the terminal (by any route, file descriptors included)
into a log file and keeps the real terminal for us. In a process without a terminal, `relay_to` hands what `track` and
`say` show to whoever has one. Without either they do nothing, so stages call them freely.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

_SHOW_AFTER_SECONDS = 2.0
_PLAIN_EVERY_SECONDS = 30.0
_WHOLE_RATE = 10.0
# Work after the first piece, and seconds, before a rate says how long is left: one slow step foretold 30,441 s of 400.
_MEASURED_WORK = 4
_MEASURED_SECONDS = 5.0
_RELAY_SECONDS = 0.5
_console: Console | None = None
_relay: "Relay | None" = None
_bars: list["Bar"] = []
_thread = threading.local()
_said: set[str] = set()


class Relay(Protocol):
    """Takes what a process without a terminal shows."""

    def say(self, text: str, style: str | None, once: bool) -> None:
        """Take a line for the person."""

    def show(self, lines: Sequence[str]) -> None:
        """Take the lines of the work under way; they replace those before."""


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

    @property
    def shown(self) -> bool:
        """Whether it has run for long enough to be shown."""
        return time.monotonic() - self.started >= _SHOW_AFTER_SECONDS

    def __rich__(self) -> Text:
        return Text(self.line() if self.shown else "", no_wrap=True, overflow="ellipsis")


@contextmanager
def track(name: str, total: float | None = None, unit: str = "rows") -> Iterator[Bar]:
    """Show a live line for work that takes longer than two seconds.

    Args:
        name: what is being done.
        total: how much there is, in `unit`; None where that is not known.
        unit: what is counted.
    """
    bar = Bar(name, total, unit)
    if getattr(_thread, "unseen", False):
        yield bar
    elif _relay is not None:
        _bars.append(bar)
        try:
            yield bar
        finally:
            _bars.remove(bar)
    elif _console is None:
        yield bar
    elif _console.is_terminal:
        with Live(bar, console=_console, refresh_per_second=4, transient=True):
            yield bar
    else:
        with _plain_lines(lambda: [bar.line()], _console):
            yield bar


@contextmanager
def relay_to(relay: Relay) -> Iterator[None]:
    """Hand all that this process shows to another one for the time of the block."""
    global _relay
    stopped = threading.Event()

    def beat() -> None:
        shown: list[str] = []
        while not stopped.wait(_RELAY_SECONDS):
            lines = [bar.line() for bar in list(_bars) if bar.shown]
            if lines != shown:
                relay.show(lines)
                shown = lines

    _relay = relay
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        _relay = None
        _said.clear()
        stopped.set()
        thread.join()


@contextmanager
def board(lines: Callable[[], Sequence[str]]) -> Iterator[None]:
    """Show lines that change, for the time of the block: live on a terminal, now and then in a log.

    Args:
        lines: what is under way, a line each; asked from another thread.
    """
    if _console is None:
        yield
    elif _console.is_terminal:
        with Live(get_renderable=lambda: _lines_of(lines()), console=_console, refresh_per_second=4, transient=True):
            yield
    else:
        with _plain_lines(lines, _console):
            yield


def _lines_of(lines: Sequence[str]) -> Group:
    return Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in lines))


@contextmanager
def unseen() -> Iterator[None]:
    """Show no live lines of this thread: its work goes on beside what is shown."""
    _thread.unseen = True
    try:
        yield
    finally:
        _thread.unseen = False


@contextmanager
def _plain_lines(lines: Callable[[], Sequence[str]], console: Console) -> Iterator[None]:
    """Off a terminal, a line every half minute says that a piece of work goes on."""
    stopped = threading.Event()

    def beat() -> None:
        while not stopped.wait(_PLAIN_EVERY_SECONDS):
            for line in lines():
                console.print(Text(line.rstrip()), soft_wrap=True)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def say(text: object = "", style: str | None = None) -> None:
    """Print a line (or a rich renderable) to the person's terminal."""
    if _relay is not None:
        _relay.say(str(text), style, once=False)
    elif _console is not None:
        _console.print(text, style=style, soft_wrap=isinstance(text, str), highlight=False)


def say_once(text: str) -> None:
    """Print a line to the person's terminal unless it stands there already."""
    if text in _said:
        return
    _said.add(text)
    if _relay is not None:
        _relay.say(text, "dim", once=True)
    else:
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
