"""Journal of a search as JSON Lines: the only file that a resumed search reads.

One small file a trial, `trial-00007.jsonl`, written anew with each of its events (object stores cannot append) and
put in place by a rename, so a kill at any moment leaves the events before it. `sequence` orders the events of all:

    {"sequence": 9, "event": "proposed", "trial": 7, "values": {"training.distil.learning_rate": 0.004}}
    {"sequence": 14, "event": "rung", "trial": 7, "step": 25, "score": 0.41, …}
    {"sequence": 31, "event": "ended", "trial": 7, "state": "finished" | "stopped" | "failed", "reason": null}
"""

import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow.fs as pafs

from polyglossa.artifact import open_storage, placed_file

Event = dict[str, Any]


@dataclass
class TrialRecord:
    """One trial as the journal tells it."""

    number: int
    values: dict[str, Any]
    rungs: list[Event] = field(default_factory=list)
    """Reports in the order of their steps."""
    state: str = "running"
    """running, finished, stopped or failed."""
    reason: str | None = None
    """Why it failed."""
    start: int | None = None
    """Trial whose weights it went on from."""
    until: int | None = None
    """Step at which it ends before the recipe's last."""

    @property
    def last(self) -> Event | None:
        """The last report."""
        return self.rungs[-1] if self.rungs else None


class Journal:
    """Events of one search; everything is in storage when a method returns."""

    def __init__(self, uri: str) -> None:
        """Read what is there."""
        self._uri = uri
        self._events: dict[int, list[Event]] = {}
        filesystem, path = open_storage(uri)
        filesystem.create_dir(path, recursive=True)
        for found in filesystem.get_file_info(pafs.FileSelector(path)):
            if found.base_name.endswith(".jsonl"):
                with filesystem.open_input_stream(found.path) as stream:
                    for line in stream.read().decode().splitlines():
                        self._keep(json.loads(line))
        self._sequence = 1 + max((event["sequence"] for event in self.events()), default=-1)

    def events(self) -> list[Event]:
        """All events in the order in which they happened."""
        return sorted(
            (event for events in self._events.values() for event in events), key=lambda event: event["sequence"]
        )

    def trials(self) -> list[TrialRecord]:
        """Every trial by number."""
        return [_record(number, self._events[number]) for number in sorted(self._events)]

    def trial(self, number: int) -> TrialRecord:
        """One trial."""
        return _record(number, self._events[number])

    def proposed(
        self, number: int, values: Mapping[str, Any], *, start: int | None = None, until: int | None = None
    ) -> None:
        """Note what a trial tries, before it starts."""
        more = {name: value for name, value in (("start", start), ("until", until)) if value is not None}
        self._write({"event": "proposed", "trial": number, "values": dict(values), **more})

    def rung(self, number: int, report: Mapping[str, Any]) -> None:
        """Note a trial's report; one of the same step is there already after a retry, and stays."""
        if report["step"] not in [rung["step"] for rung in self.trial(number).rungs]:
            self._write({"event": "rung", "trial": number, **report})

    def ended(self, number: int, state: str, reason: str | None = None) -> None:
        """Note how a trial ended."""
        if self.trial(number).state == "running":
            self._write({"event": "ended", "trial": number, "state": state, "reason": reason})

    def lines(self) -> str:
        """All events as one JSON Lines text."""
        return "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in self.events())

    def _write(self, event: Event) -> None:
        event = {"sequence": self._sequence, **event}
        self._sequence += 1
        self._keep(event)
        name = f"trial-{event['trial']:05d}.jsonl"
        with placed_file(posixpath.join(self._uri, name)) as stream:
            for known in self._events[event["trial"]]:
                stream.write((json.dumps(known, ensure_ascii=False) + "\n").encode())

    def _keep(self, event: Event) -> None:
        self._events.setdefault(event["trial"], []).append(event)


def _record(number: int, events: list[Event]) -> TrialRecord:
    record = TrialRecord(number, {})
    for event in events:
        if event["event"] == "proposed":
            record.values, record.start, record.until = event["values"], event.get("start"), event.get("until")
        elif event["event"] == "rung":
            record.rungs.append(
                {key: value for key, value in event.items() if key not in ("sequence", "event", "trial")}
            )
        else:
            record.state, record.reason = event["state"], event["reason"]
    record.rungs.sort(key=lambda rung: rung["step"])
    return record
