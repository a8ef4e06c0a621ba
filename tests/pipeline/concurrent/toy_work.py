"""What toy stages do on workers: sleep, write a value that their inputs give, break where a file says so."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.toy_stages import name_of, toy_stages
from polyglossa.artifact import Artifact, Draft, clear, exists
from polyglossa.costing.work import StageCost, no_footprint, no_seconds, no_work
from polyglossa.errors import DataError
from polyglossa.lease import Claims
from polyglossa.pipeline.concurrent.executor import Execution
from polyglossa.pipeline.concurrent.node_task import run_node
from polyglossa.pipeline.concurrent.schedule import MACHINE, Room, Scheduler
from polyglossa.pipeline.graph import Node
from polyglossa.recipe import Profile
from polyglossa.recipe.sections.report import ReportConfig, ReportedMember

ONE_CORE = {"workers": 1, "cpus": 1}
COST = StageCost(no_work, no_seconds, no_footprint, start_seconds=1.0)


@dataclass(frozen=True)
class ToyWork:
    """Notes each run under `folder`, and takes `seconds`."""

    folder: str
    seconds: float = 0.0

    def __call__(self, stage: str, config: Any, inputs: Mapping[str, Artifact], draft: Draft) -> None:
        name, began = name_of(draft), time.time()
        folder = Path(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.began").write_text(str(os.getpid()))
        if (folder / f"{name}.meets").exists():
            other, deadline = (folder / f"{name}.meets").read_text(), time.monotonic() + 60
            while not (folder / f"{other}.began").exists():
                assert time.monotonic() < deadline, f"{name} and {other} do not run at the same time"
                time.sleep(0.02)
        if (folder / f"{name}.breaks").exists():
            raise DataError(f"{name} is told to break.")
        if (folder / f"{name}.bug").exists():
            raise ZeroDivisionError("a bug")
        if (folder / f"{name}.deletes").exists():
            for one in inputs.values():
                clear(one.uri)
        if (folder / f"{name}.unfinished").exists():
            draft.unfinished, draft.identity = "something is missing", f"half of {name}"
        values = [one.read_json("data.json") for one in inputs.values()]
        scratch = f"{draft.uri}.work"
        done = exists(f"{scratch}/half.json")
        Draft(scratch).write_json({}, "half.json")
        slow = folder / f"{name}.hangs"
        while slow.exists():
            time.sleep(0.05)
        time.sleep(self.seconds)
        assert exists(f"{scratch}/half.json"), "another run has cleared the scratch folder"
        clear(scratch)
        draft.write_json([name, *values], "data.json")
        draft.count(resumed=int(done))
        line = json.dumps({"name": name, "began": began, "ended": time.time(), "pid": os.getpid()})
        with (folder / "log.jsonl").open("a") as log:
            log.write(f"{line}\n")


def lines(folder: Path) -> list[dict[str, Any]]:
    """What ran, in the order of its end."""
    log = folder / "log.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def toy_node(name: str, *reads: str) -> Node:
    """A node whose name alone shapes it; its address is that of a report, whose module takes no time to load."""
    config = ReportConfig(members=(ReportedMember(name=name),))
    return Node(name, "report", config, {f"role{index}": one for index, one in enumerate(reads)})


def execution(
    nodes: list[Node], root: Path, work: ToyWork, claims: Claims, *, shares: bool = False, **options: Any
) -> Execution:
    """An execution of toys on two cores; each takes one, and may share its workers with others."""
    profile = Profile.model_validate({"merge": ONE_CORE, **options.pop("profile", {})})
    report = replace(toy_stages(work)["report"], placement="merge", shares_workers=shares, cost_module=__name__)
    stages, seconds = {"report": report}, options.pop("planned", {})
    scheduler = Scheduler.of(nodes, profile, {MACHINE: Room(1, 2)}, seconds, stages)
    return Execution(nodes, str(root), profile, scheduler, claims, run_node, stages=stages, **options)
