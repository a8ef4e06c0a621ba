"""Execute a graph on Ray: every node is a task on its stage's group, started when its inputs and room are there.

This process holds the graph, the leases and the progress; stages' modules, models and data stay in the tasks. Which
node starts when is `schedule`'s decision; what a task does is handed in (`node_task.run_node`). A node that fails lets
those that do not need it end.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import ray
from rich.markup import escape

from polyglossa import artifact
from polyglossa.artifact import Artifact, ArtifactKey
from polyglossa.errors import ArtifactError, PolyglossaError
from polyglossa.lease import Claims
from polyglossa.pipeline.concurrent.failures import describe_loss, failure_of_run, log_trace, outcome_of
from polyglossa.pipeline.concurrent.key_server import KeyServer, missing_inputs
from polyglossa.pipeline.concurrent.node_task import NodeTask, Outcome
from polyglossa.pipeline.concurrent.placing import driver_options, wake_machine
from polyglossa.pipeline.concurrent.schedule import Running, Scheduler
from polyglossa.pipeline.concurrent.timeline import Stay
from polyglossa.pipeline.execute import say_done
from polyglossa.pipeline.graph import Node
from polyglossa.pipeline.stages import STAGES, Stage, find_stage_of
from polyglossa.recipe import Profile
from polyglossa.runtime import console
from polyglossa.runtime.run_board import NodeRelay, RunBoard, start_beside

_POLL_SECONDS = 0.5
_ASK_AGAIN_SECONDS = 1.0
_SETTLE_SECONDS = 5.0
_STOP_SECONDS = 30.0
_LOST_DRIVERS = 3
_SMALL_STARTS = 20.0  # work below so many starts of its stage shares a worker group
_SHOWN_AFTER_SECONDS = 2.0


@dataclass
class _Ready:
    """A node whose inputs are there and whose artifact is not."""

    node: Node
    inputs: Mapping[str, Artifact]
    key: ArtifactKey
    held_by: str | None = None
    """Another run that makes it."""
    asked: float = 0.0
    lost: int = 0
    """Drivers that ended without a word, on machines that are still there."""


@dataclass
class _Task:
    """A task that runs."""

    members: list[_Ready]
    reference: Any
    started: float
    ends: float


@dataclass
class Execution:
    """One execution of a graph: `run` it, then read `artifacts`, `made` and `stays`, also where it raised."""

    nodes: Sequence[Node]
    root: str
    profile: Profile
    scheduler: Scheduler
    claims: Claims
    run_node: Callable[[NodeTask, Any, object], Outcome]
    """What each task does; a function of a module, for it travels to workers."""
    stages: Mapping[str, Stage] = field(default_factory=lambda: STAGES)
    fail_fast: bool = False
    changed: Callable[[Sequence[str]], None] = lambda names: None
    """Told which nodes run, whenever that changes."""
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    failed: dict[str, PolyglossaError] = field(default_factory=dict)
    stays: dict[str, Stay] = field(default_factory=dict)

    def run(self) -> dict[str, Artifact]:
        """Make every artifact that is not there yet; Ray is initialised.

        Raises:
            PolyglossaError: nodes failed; a line for each.
        """
        self._prepare()
        with console.board(self._lines):
            try:
                while self._unfinished() and not (self.fail_fast and self.failed):
                    self._resolve()
                    if not self._resolving or self._now() >= self._settled:
                        self._start()
                    self._wait()
            finally:
                self._stop()
        if self.failed:
            left = len(self.nodes) - len(self.artifacts) - len(self.failed)
            raise failure_of_run(self.failed, left)
        return self.artifacts

    def _prepare(self) -> None:
        self._began = time.monotonic()
        self._board = start_beside(RunBoard)
        self._keys = start_beside(KeyServer, self.root)
        self._waiting = {node.name: node for node in self.nodes}
        self._resolving: dict[Any, Node] = {}
        self._settled = 0.0
        self._ready: dict[str, _Ready] = {}
        self._running: dict[Any, _Task] = {}
        self._alone: set[str] = set()
        self._shown: dict[str, list[str]] = {}
        demands = self.scheduler.demands
        for node in self.nodes:
            demand = demands[node.name]
            self.stays[node.name] = Stay(node.name, node.stage, demand.group, demand.workers)

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _unfinished(self) -> bool:
        for name in [name for name, node in self._waiting.items() if self._broken(node)]:
            del self._waiting[name]
        return bool(self._waiting or self._resolving or self._ready or self._running)

    def _broken(self, node: Node) -> bool:
        """Whether a node needs one that failed, directly or not."""
        gone = {one for one in node.inputs.values() if one not in self.artifacts and not self._expected(one)}
        return bool(gone)

    def _expected(self, name: str) -> bool:
        running = {member.node.name for task in self._running.values() for member in task.members}
        resolving = {node.name for node in self._resolving.values()}
        return name in self._waiting or name in self._ready or name in running or name in resolving

    def _resolve(self) -> None:
        """Ask for the keys of nodes whose inputs are all there; nothing starts before the answer, for a while.

        It takes milliseconds, and may put a node of a longer path, or one that shares workers, before the others.
        """
        for name, node in list(self._waiting.items()):
            if all(one in self.artifacts for one in node.inputs.values()):
                del self._waiting[name]
                inputs = {role: self.artifacts[one] for role, one in node.inputs.items()}
                self._resolving[self._keys.resolve.remote(node, inputs)] = node
                self._settled = self._now() + _SETTLE_SECONDS

    def _start(self) -> None:
        """Start what the scheduler chooses; what another run makes is left to it."""
        self._ask_others()
        while True:
            running = [Running(one.node.name, self.scheduler.demands[one.node.name], task.ends)
                       for task in self._running.values() for one in task.members[:1]]  # fmt: skip
            free = [name for name, one in self._ready.items() if one.held_by is None]
            chosen = self.scheduler.start(free, running, self._now())
            for name in free:
                if name not in chosen and not self.stays[name].waited_for:
                    self.stays[name].waited_for = "room"
            started = [name for name in chosen if name in self._ready and self._take(name)]
            for name in started:
                if name in self._ready:
                    self._launch(name)
            if len(started) == len(chosen):
                return

    def _ask_others(self) -> None:
        """Look again after the leases that other runs hold."""
        for name, one in list(self._ready.items()):
            if one.held_by is not None and self._now() - one.asked >= _ASK_AGAIN_SECONDS:
                self._take(name)

    def _take(self, name: str) -> bool:
        """Take a node's lease; whether the node may start now."""
        one = self._ready[name]
        self.claims.enter(one.key.lease)
        one.asked = self._now()
        held = self.claims.holds(one.key.lease)
        one.held_by = None if held else self.claims.holder(one.key.lease)
        if one.held_by is not None:
            self.stays[name].waited_for = "another run"
        found = artifact.find_finished(self.root, one.key)
        if found is not None:
            self._finish(one, found, "made by another run")
            return False
        return held

    def _launch(self, name: str) -> None:
        members = [self._ready[name], *self._joining(name)]
        for member in members:
            del self._ready[member.node.name]
        names = [member.node.name for member in members]
        task = NodeTask(
            tuple(member.node for member in members),
            tuple(member.inputs for member in members),
            tuple(member.key for member in members),
            self.root,
            self.profile,
            None if self.stages is STAGES else self.stages,
        )
        now = self._now()
        remote: Any = ray.remote(self.run_node)
        stage = find_stage_of(members[0].node, self.stages)
        options = driver_options(members[0].node, stage, self.profile)
        awake = wake_machine(options, stage, self.profile)
        driver = remote.options(name=" + ".join(names), max_retries=0, **options)
        reference = driver.remote(task, NodeRelay(self._board, names[0]), awake)
        ends = now + sum(self.scheduler.seconds.get(one, 0.0) for one in names)
        self._running[reference] = _Task(members, reference, now, ends)
        for one in names:
            stay = self.stays[one]
            stay.started, stay.ended, stay.outcome = now, None, "running"
            stay.together_with = [other for other in names if other != one]
        self._tell_change()

    def _joining(self, name: str) -> Iterator[_Ready]:
        """Small nodes of the stage that wait for room share the worker group, whose start costs more than they do."""
        first = self._ready[name]
        stage = find_stage_of(first.node, self.stages)
        if not stage.shares_workers or not self._small(name) or name in self._alone:
            return
        for other in self.scheduler.in_order(self._ready):
            one = self._ready[other]
            if other == name or one.node.stage != stage.name or one.held_by is not None or other in self._alone:
                continue
            if self.stays[other].waited_for == "room" and self._small(other) and self._take(other):
                yield one

    def _small(self, name: str) -> bool:
        start = find_stage_of(self._ready[name].node, self.stages).cost.start_seconds
        return self.scheduler.seconds.get(name, 0.0) <= (1 + _SMALL_STARTS) * start

    def _wait(self) -> None:
        """Wait until something ends or it is time to look around."""
        references = [*self._resolving, *self._running]
        if references:
            ended, _ = ray.wait(references, num_returns=1, timeout=_POLL_SECONDS)
            more, _ = ray.wait(references, num_returns=len(references), timeout=0)
            done = {*ended, *more}
            for reference in [one for one in references if one in done]:  # in the graph's order: equal nodes keep it
                self._end(reference)
        elif self._ready:
            time.sleep(_POLL_SECONDS)
        self._read_board()
        self._check_leases()

    def _end(self, reference: Any) -> None:
        if reference in self._resolving:
            self._resolved(self._resolving.pop(reference), reference)
            return
        task = self._running.pop(reference)
        self._read_board()
        outcome = outcome_of(reference)
        for member in task.members:
            stay = self.stays[member.node.name]
            stay.ended, stay.host = self._now(), outcome.host
        if outcome.error is None:
            for member, made in zip(task.members, outcome.artifacts, strict=True):
                self._finish(member, made, "made")
        elif self._begins_again(task, outcome):
            for member in task.members:
                self._ready[member.node.name] = member
                self.stays[member.node.name].outcome = "waiting"
        else:
            log_trace(outcome.trace)
            for member in task.members:
                self._fail(member.node, self._explain(task, outcome.error))
                self.claims.leave(member.key.lease)
        self._tell_change()

    def _begins_again(self, task: _Task, outcome: Outcome) -> bool:
        """Whether a task that made nothing does not count as failed: its nodes are ready as before."""
        if any(self.claims.lost(member.key.lease) for member in task.members):
            return True  # this run was taken for dead: it stands in line behind the one that took over
        if outcome.lost == "machine":
            return True  # spot machines come and go; scratch folders and checkpoints stay
        if outcome.lost == "driver":
            for member in task.members:
                member.lost += 1
            if all(member.lost <= _LOST_DRIVERS for member in task.members):
                return True
        if len(task.members) > 1 and not self.fail_fast:
            self._alone |= {member.node.name for member in task.members}
            return True  # each on its own: the others need not fail with the one that did
        return False

    def _resolved(self, node: Node, reference: Any) -> None:
        stay = self.stays[node.name]
        stay.ready = self._now()
        try:
            key, found, error = ray.get(reference)
        except ray.exceptions.RayError as broken:
            key, found, error = None, None, describe_loss(broken)
        if error is not None:
            self._fail(node, error)
        elif found is not None:
            self.artifacts[node.name] = found
            stay.outcome = "unchanged"
            say_done(node.name, found, reused=True)
        else:
            inputs = {role: self.artifacts[one] for role, one in node.inputs.items()}
            self._ready[node.name] = _Ready(node, inputs, key)

    def _finish(self, one: _Ready, found: Artifact, outcome: str) -> None:
        name = one.node.name
        self._ready.pop(name, None)
        self.claims.leave(one.key.lease)
        self.artifacts[name] = found
        self.stays[name].outcome = outcome
        if outcome == "made":
            self.made.append(name)
        say_done(name, found, reused=outcome != "made")

    def _fail(self, node: Node, error: PolyglossaError) -> None:
        self.failed[node.name] = error
        self.stays[node.name].outcome = "failed"
        console.say(f"✗ {node.name:<30} {escape(str(error))}", style="red")

    def _explain(self, task: _Task, error: PolyglossaError) -> PolyglossaError:
        """Say that an input is gone, where that is why a node failed."""
        gone = missing_inputs([member.inputs for member in task.members])
        if not gone:
            return error
        return ArtifactError(
            f"{', '.join(gone)}: was deleted while others read it. Run the same command again: it is made anew."
        )

    def _check_leases(self) -> None:
        for task in list(self._running.values()):
            if any(self.claims.lost(member.key.lease) for member in task.members):
                ray.cancel(task.reference, force=True)

    def _read_board(self) -> None:
        self._shown, said = ray.get(self._board.read.remote())
        for text, style, once in said:
            if once:
                console.say_once(text)
            else:
                console.say(text, style=style)

    def _lines(self) -> list[str]:
        """What is under way, a line a node or more; called from the board's thread."""
        lines, now = [], self._now()
        tasks = list(self._running.values())
        for task in tasks:
            name = task.members[0].node.name
            shown = self._shown.get(name) or []
            if len(tasks) > 1 and shown:
                lines += [line if name in line else f"  {name}: {line.strip()}" for line in shown]
            elif shown:
                lines += shown
            elif now - task.started >= _SHOWN_AFTER_SECONDS:
                lines.append(f"  {' + '.join(one.node.name for one in task.members):<26} {now - task.started:5.0f} s")
        for waiting in list(self._ready.values()):
            if waiting.held_by is not None:
                lines.append(f"  {waiting.node.name:<26} waits: {waiting.held_by} makes it")
        return lines

    def _tell_change(self) -> None:
        self.changed([one.node.name for task in self._running.values() for one in task.members])

    def _stop(self) -> None:
        """End what still runs: each task clears up after itself, and is killed where it takes too long."""
        references = list(self._running)
        for reference in references:
            ray.cancel(reference, force=False)
        try:
            if references:
                _, left = ray.wait(references, num_returns=len(references), timeout=_STOP_SECONDS)
                for reference in left:
                    ray.cancel(reference, force=True)
        finally:
            for task in self._running.values():
                for member in task.members:
                    stay = self.stays[member.node.name]
                    stay.ended, stay.outcome = self._now(), "stopped"
            self._running.clear()
            with suppress(ray.exceptions.RayError):
                self._read_board()
            ray.kill(self._keys)
            ray.kill(self._board)
