"""The timeline of a run: which node ran when and where, and what it waited for before. Data, and a drawing of it.

Times are seconds since the run began. A node waits for its `inputs`, then for `room`, or for `another run` that makes
the same thing.
"""

import html
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Stay:
    """One node's stay in a run."""

    name: str
    stage: str
    group: str
    workers: int
    ready: float | None = None
    """All inputs were there."""
    started: float | None = None
    ended: float | None = None
    host: str = ""
    """Where its driver ran."""
    outcome: str = "waiting"
    """`made`, `unchanged`, `made by another run`, `running`, `failed`, `stopped`, or `waiting` for what it needs."""
    waited_for: str = ""
    """What it waited for between being ready and its start: `room` or `another run`."""
    together_with: list[str] = field(default_factory=list)
    """Nodes that shared its worker group."""

    @property
    def seconds(self) -> float:
        """How long it ran."""
        return 0.0 if self.started is None or self.ended is None else self.ended - self.started


def plain(stays: Sequence[Stay]) -> list[dict[str, Any]]:
    """As JSON values, in the order of their starts."""
    return [_rounded(asdict(stay)) for stay in _in_order(stays)]


def most_at_once(stays: Sequence[Stay]) -> int:
    """Largest number of nodes that ran at the same time; nodes of one worker group count once."""
    edges = sorted(
        edge
        for stay in stays
        if stay.started is not None and stay.ended is not None and stay.name == min([stay.name, *stay.together_with])
        for edge in ((stay.ended, -1), (stay.started, 1))
    )
    running = most = 0
    for _, change in edges:
        running += change
        most = max(most, running)
    return most


def drawing(stays: Sequence[Stay]) -> str:
    """Draw the timeline as a section of HTML that stands alone."""
    ran = [stay for stay in _in_order(stays) if stay.started is not None and stay.ended is not None]
    whole = max((stay.ended or 0.0 for stay in ran), default=0.0) or 1.0
    rows = "".join(_row(stay, whole) for stay in ran)
    data = json.dumps(plain(stays), ensure_ascii=False).replace("<", "\\u003c")
    return (
        f'<section id="timeline"><h2>Timeline of the run</h2><p>{len(ran)} nodes ran in {whole:,.0f} s, '
        f"{most_at_once(stays)} at the same time at most. Pale: ready, and waiting.</p>"
        f'<table style="width:100%;border-collapse:collapse;font-size:13px"><tbody>{rows}</tbody></table>'
        f'<script type="application/json" id="timeline-data">{data}</script></section>'
    )


def _row(stay: Stay, whole: float) -> str:
    assert stay.started is not None
    assert stay.ended is not None
    ready = stay.started if stay.ready is None else stay.ready
    waited, runs = 100 * (stay.started - ready) / whole, 100 * (stay.ended - stay.started) / whole
    colour = "#b3412f" if stay.outcome in ("failed", "stopped") else "#2f6db3"
    told = html.escape(", ".join(_told(stay)))
    return (
        f'<tr title="{told}"><td style="white-space:nowrap;padding:1px 8px 1px 0">{html.escape(stay.name)}</td>'
        f'<td style="width:70%"><div style="display:flex;height:11px;margin-left:{100 * ready / whole:.2f}%">'
        f'<div style="width:{waited:.2f}%;background:{colour};opacity:.2"></div>'
        f'<div style="width:{runs:.2f}%;min-width:2px;background:{colour}"></div></div></td>'
        f'<td style="text-align:right;white-space:nowrap">{stay.seconds:,.1f} s</td></tr>'
    )


def _told(stay: Stay) -> Iterator[str]:
    yield f"{stay.outcome}: {stay.started:,.1f} to {stay.ended:,.1f} s"
    yield f"{stay.workers} workers of group {stay.group}"
    if stay.host:
        yield f"driver on {stay.host}"
    if stay.waited_for:
        yield f"waited for {stay.waited_for}"
    if stay.together_with:
        yield f"together with {' and '.join(stay.together_with)}"


def _in_order(stays: Sequence[Stay]) -> list[Stay]:
    return sorted(stays, key=lambda stay: (stay.started is None, stay.started or 0.0))


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in values.items()}
