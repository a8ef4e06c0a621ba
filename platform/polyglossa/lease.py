"""Leases on a storage root: of several runs that want to make the same thing, one makes it and the others wait.

A claim is a small file `<root>/leases/<name>.<id>.json` that its process rewrites every few seconds. Claims are served
by ticket (Lamport's bakery, 1974), so mutual exclusion needs no more of a storage than writing, listing and reading:
buckets have no conditional write through `pyarrow.fs`. A claim that nobody has rewritten for `expiry_seconds` is dead,
whatever its clock says; one whose process ended on this machine is dead at once. Both are cleared away by who waits.

    with Claims(root) as claims:
        claims.enter("train-1f3a")         # stands in line
        if claims.holds("train-1f3a"): …   # first in line: nobody else holds it
        claims.leave("train-1f3a")
"""

import json
import os
import posixpath
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import Any, Self

import psutil
import pyarrow.fs as pafs

from polyglossa.artifact import open_storage

FOLDER = "leases"
BEAT_SECONDS = 5.0
EXPIRY_SECONDS = 60.0
_GRACE_SECONDS = 2.0  # until the workers of a process that was killed have gone too
_POLL_SECONDS = 0.5
_SUFFIX = ".json"


@dataclass(frozen=True)
class Claim:
    """One process's wish for a lease."""

    claim_id: str
    ticket: int
    """Place in line; 0 while it is being drawn."""
    beat: int
    machine: str
    """Tells machines and containers apart."""
    host: str
    pid: int
    born: float
    """When the process started (seconds since 1970): numbers of processes are used again."""

    @property
    def order(self) -> tuple[int, str]:
        """Lower goes first."""
        return self.ticket, self.claim_id

    def __str__(self) -> str:
        """Who, for a person."""
        return f"process {self.pid} on {self.host}"


@dataclass
class _Seen:
    """When something was last seen to change, on this process's own clock."""

    content: str
    since: float
    gone_since: float | None = None


class Claims:
    """The claims of this process on one storage root; a thread keeps them alive until they are left."""

    def __init__(
        self, root: str, *, beat_seconds: float = BEAT_SECONDS, expiry_seconds: float = EXPIRY_SECONDS
    ) -> None:
        self._folder = posixpath.join(root, FOLDER)
        self._filesystem, self._path = open_storage(self._folder)
        self._beat_seconds, self._expiry_seconds = beat_seconds, expiry_seconds
        self._own: dict[str, Claim] = {}
        self._held: set[str] = set()
        self._lost: set[str] = set()
        self._seen: dict[str, _Seen] = {}
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._beating: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def enter(self, name: str) -> None:
        """Stand in line for a lease; who stands there already keeps the place, who lost it stands at the end."""
        with self._lock:
            if name in self._lost:
                self.leave(name)
            if name in self._own:
                return
            claim = _claim_of_this_process()
            self._write(name, claim)
            tickets = [other.ticket for other in self._others(name, claim.claim_id).values() if other is not None]
            claim = replace(claim, ticket=max(tickets, default=0) + 1)
            self._write(name, claim)
            self._own[name] = claim
            if self._beating is None:
                self._beating = threading.Thread(target=self._keep_alive, daemon=True)
                self._beating.start()

    def holds(self, name: str) -> bool:
        """Whether this process is the first in line; dead claims before it are cleared away."""
        with self._lock:
            if name not in self._held and self._first_before(name) is None and self._is_there(name):
                self._held.add(name)
            return name in self._held and name not in self._lost

    def wait(self, name: str, waiting: Callable[[str], None] = lambda holder: None) -> None:
        """Stand in line until this process holds the lease.

        Args:
            name: of the lease.
            waiting: told once who holds it, where somebody does.
        """
        told = False
        self.enter(name)
        while not self.holds(name):
            if not told and (holder := self.holder(name)) is not None:
                waiting(holder)
                told = True
            time.sleep(_POLL_SECONDS)
            self.enter(name)

    def holder(self, name: str) -> str | None:
        """Who is before this process, in words; None where nobody is."""
        with self._lock:
            return self._first_before(name)

    def lost(self, name: str) -> bool:
        """Whether others took this process for dead: what it makes is theirs now."""
        return name in self._lost

    def leave(self, name: str) -> None:
        """Give a lease, or the place in line for it, back."""
        with self._lock:
            claim = self._own.pop(name, None)
            self._held.discard(name)
            self._lost.discard(name)
            if claim is not None:
                self._delete(self._at(name, claim.claim_id))

    def close(self) -> None:
        """Leave everything."""
        self._closed.set()
        with self._lock:
            for name in list(self._own):
                self.leave(name)
        if self._beating is not None:
            self._beating.join()

    def _keep_alive(self) -> None:
        while not self._closed.wait(self._beat_seconds):
            with self._lock:
                for name in list(self._own):
                    with suppress(OSError):  # storage that is out of reach for a moment costs a beat, and not the line
                        self._beat(name)

    def _beat(self, name: str) -> None:
        """Rewrite a claim, or learn that others have cleared it away."""
        if self._is_there(name):
            self._own[name] = replace(self._own[name], beat=self._own[name].beat + 1)
            self._write(name, self._own[name])
        else:
            self._lost.add(name)

    def _is_there(self, name: str) -> bool:
        found = self._filesystem.get_file_info(self._at(name, self._own[name].claim_id))
        return bool(found.type != pafs.FileType.NotFound)

    def _first_before(self, name: str) -> str | None:
        own = self._own[name]
        before: list[Claim] = []
        for claim_id, claim in self._others(name, own.claim_id).items():
            if self._dead(name, claim_id, claim):
                self._delete(self._at(name, claim_id))
            elif claim is None or claim.ticket == 0:
                return "a run that is about to begin"
            elif claim.order < own.order:
                before.append(claim)
        return str(min(before, key=lambda one: one.order)) if before else None

    def _dead(self, name: str, claim_id: str, claim: Claim | None) -> bool:
        """Whether a claim's process is gone: known of this machine, believed of others after some silence."""
        key, now = f"{name}.{claim_id}", time.monotonic()
        content = "" if claim is None else f"{claim.beat}/{claim.ticket}"
        seen = self._seen.get(key)
        if seen is None or seen.content != content:
            seen = self._seen[key] = _Seen(content, now)
        if claim is not None and claim.machine == _machine() and not _lives(claim):
            seen.gone_since = seen.gone_since or now
            return now - seen.gone_since >= _GRACE_SECONDS
        return now - seen.since >= self._expiry_seconds

    def _others(self, name: str, own: str) -> dict[str, Claim | None]:
        """Claims of others on a lease; None where one cannot be read: it is being written."""
        selector = pafs.FileSelector(self._path, allow_not_found=True)
        found: dict[str, Claim | None] = {}
        for one in self._filesystem.get_file_info(selector):
            stem, _, claim_id = one.base_name.removesuffix(_SUFFIX).rpartition(".")
            if one.base_name.endswith(_SUFFIX) and stem == name and claim_id != own:
                read = self._read(one.path)
                if read is not _GONE:
                    found[claim_id] = read
        return found

    def _read(self, path: str) -> Any:
        try:
            with self._filesystem.open_input_file(path) as stream:
                return Claim(**json.loads(stream.read()))
        except FileNotFoundError:
            return _GONE
        except (OSError, ValueError, TypeError):
            return None

    def _write(self, name: str, claim: Claim) -> None:
        path, content = self._at(name, claim.claim_id), json.dumps(asdict(claim)).encode()
        self._filesystem.create_dir(self._path, recursive=True)
        local = isinstance(self._filesystem, pafs.LocalFileSystem)
        written = f"{path}.part" if local else path  # an object appears as a whole; a file does when it is renamed
        with self._filesystem.open_output_stream(written) as stream:
            stream.write(content)
        if local:
            self._filesystem.move(written, path)

    def _delete(self, path: str) -> None:
        try:
            self._filesystem.delete_file(path)
        except FileNotFoundError:
            return
        except OSError:
            if self._filesystem.get_file_info(path).type != pafs.FileType.NotFound:
                raise

    def _at(self, name: str, claim_id: str) -> str:
        return posixpath.join(self._path, f"{name}.{claim_id}{_SUFFIX}")


_GONE = object()


@contextmanager
def held(root: str, name: str, *, waiting: Callable[[str], None] = lambda holder: None) -> Iterator[None]:
    """Hold a lease for the time of the block; waits until it is free.

    Args:
        root: storage root.
        name: of the lease.
        waiting: told once who holds it, where somebody does.
    """
    with Claims(root) as claims:
        claims.wait(name, waiting)
        yield


def _claim_of_this_process() -> Claim:
    process = psutil.Process()
    return Claim(uuid.uuid4().hex[:12], 0, 0, _machine(), socket.gethostname(), process.pid, process.create_time())


def _lives(claim: Claim) -> bool:
    try:
        process = psutil.Process(claim.pid)
        return abs(process.create_time() - claim.born) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _machine() -> str:
    """Name this machine's space of process numbers: containers of one machine do not see each other's."""
    parts = [socket.gethostname()]
    for source in ("/proc/sys/kernel/random/boot_id",):
        try:
            with open(source, encoding="ascii") as stream:
                parts.append(stream.read().strip())
        except OSError:
            continue
    try:
        parts.append(os.readlink("/proc/self/ns/pid"))
    except OSError:
        parts.append("")
    return " ".join(parts)
