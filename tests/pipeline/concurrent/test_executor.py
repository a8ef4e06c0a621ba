"""Protects the graph on the cluster: nodes at the same time, failures kept to what needs them, equal artifacts."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from ray import cloudpickle

import pipeline.concurrent.toy_work as toy_work_module
import pipeline.toy_stages as toy_stages_module
from pipeline.concurrent.toy_work import ToyWork, execution, lines, toy_node
from pipeline.toy_stages import toy_stages
from polyglossa.artifact import MARKER
from polyglossa.errors import ArtifactError, DataError, PolyglossaError
from polyglossa.lease import Claims
from polyglossa.pipeline.concurrent.executor import Execution
from polyglossa.pipeline.concurrent.failures import NodesFailed, NodesRefused
from polyglossa.pipeline.concurrent.timeline import drawing, most_at_once
from polyglossa.pipeline.execute import execute
from polyglossa.recipe import Profile

# Workers do not find the tests' modules: what toys do travels to them.
for module in (toy_stages_module, toy_work_module):
    cloudpickle.register_pickle_by_value(module)

DIAMOND = [
    toy_node("first"),
    toy_node("left", "first"),
    toy_node("right", "first"),
    toy_node("last", "left", "right"),
]


@pytest.fixture
def claims(tmp_path: Path):  # type: ignore[no-untyped-def]
    with Claims(str(tmp_path / "run")) as opened:
        yield opened


def test_nodes_that_do_not_need_each_other_run_at_the_same_time_and_a_rerun_makes_nothing(
    ray_local: None, tmp_path: Path, claims: Claims
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "left.meets").write_text("right")
    (notes / "right.meets").write_text("left")
    running = execution(DIAMOND, tmp_path / "run", ToyWork(str(notes)), claims)
    artifacts = running.run()
    assert artifacts["last"].read_json("data.json") == ["last", ["left", ["first"]], ["right", ["first"]]]
    assert {one["name"] for one in lines(notes)} == {"first", "left", "right", "last"}
    stays = list(running.stays.values())
    assert most_at_once(stays) == 2
    assert all(stay.outcome == "made" and stay.host for stay in stays)
    assert "at the same time" in drawing(stays)
    again = execution(DIAMOND, tmp_path / "run", ToyWork(str(notes)), claims)
    again.run()
    assert again.made == []
    assert {stay.outcome for stay in again.stays.values()} == {"unchanged"}
    assert not list((tmp_path / "run/leases").iterdir())


def test_what_was_left_unfinished_is_made_anew_by_the_next_run_with_what_reads_it(
    ray_local: None, tmp_path: Path, claims: Claims
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "left.unfinished").touch()
    made = []
    for unfinished in (True, True, False, False):
        if not unfinished:
            (notes / "left.unfinished").unlink(missing_ok=True)
        running = execution(DIAMOND, tmp_path / "run", ToyWork(str(notes)), claims)
        artifacts = running.run()
        assert (artifacts["left"].unfinished is not None) == unfinished
        made.append(set(running.made))
    assert made == [{"first", "left", "right", "last"}, {"left"}, {"left", "last"}, set()]


def test_artifacts_are_those_of_the_walk_in_one_process(ray_local: None, tmp_path: Path, claims: Claims) -> None:
    work = ToyWork(str(tmp_path / "notes"))
    execution(DIAMOND, tmp_path / "run", work, claims).run()
    execute(DIAMOND, str(tmp_path / "walk"), Profile(), stages=toy_stages(work))
    for made in (tmp_path / "run/artifacts").rglob("data.json"):
        walked = tmp_path / "walk" / made.relative_to(tmp_path / "run")
        assert walked.read_bytes() == made.read_bytes()


def run_while_others_wait(running: Execution, notes: Path, *names: str) -> list[str]:
    """Run; of some nodes the first to start ends only when the others have found no room. Returns the others."""
    for name in names:
        (notes / f"{name}.hangs").touch()
    thread = threading.Thread(target=running.run)
    thread.start()
    deadline = time.monotonic() + 60
    while thread.is_alive() and len(_waiting(running, names)) < len(names) - 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    found = _waiting(running, names)
    for name in names:
        (notes / f"{name}.hangs").unlink()
    thread.join()
    return found


def _waiting(running: Execution, names: Sequence[str]) -> list[str]:
    return [name for name in names if name in running.stays and running.stays[name].waited_for == "room"]


def gone(pid: int) -> bool:
    """Whether a process ends within some seconds."""
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not psutil.pid_exists(pid)


def test_the_profile_may_ask_for_one_after_another(ray_local: None, tmp_path: Path, claims: Claims) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    running = execution(DIAMOND, tmp_path / "run", ToyWork(str(notes)), claims, profile={"concurrent_nodes": 1})
    assert len(run_while_others_wait(running, notes, "left", "right")) == 1
    assert most_at_once(list(running.stays.values())) == 1


def test_a_node_that_fails_lets_those_that_do_not_need_it_end(ray_local: None, tmp_path: Path, claims: Claims) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "left.breaks").touch()
    (notes / "other.bug").touch()
    nodes = [*DIAMOND, toy_node("other"), toy_node("after", "right")]
    running = execution(nodes, tmp_path / "run", ToyWork(str(notes)), claims)
    with pytest.raises(NodesFailed) as failed:
        running.run()
    told = str(failed.value).splitlines()
    assert sorted(told[:2]) == [
        "left: left is told to break.",
        "other: ZeroDivisionError: a bug (the log has the whole story)",
    ]
    assert told[2].startswith("1 more were not made")
    assert set(running.made) == {"first", "right", "after"}
    assert running.stays["last"].outcome == "waiting"
    assert not list((tmp_path / "run/artifacts").rglob("left-*"))
    (notes / "left.breaks").unlink()
    (notes / "other.bug").unlink()
    again = execution(nodes, tmp_path / "run", ToyWork(str(notes)), claims)
    again.run()
    assert set(again.made) == {"left", "last", "other"}


def test_mistakes_of_the_user_end_with_their_exit_code(ray_local: None, tmp_path: Path, claims: Claims) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "left.breaks").touch()
    with pytest.raises(NodesRefused) as refused:
        execution(DIAMOND, tmp_path / "run", ToyWork(str(notes)), claims).run()
    assert refused.value.exit_code == 2
    with pytest.raises(DataError, match="left: left is told to break"):
        execution(DIAMOND[:2], tmp_path / "run", ToyWork(str(notes)), claims).run()


def test_failing_fast_stops_the_others_and_leaves_nothing_half_made(
    ray_local: None, tmp_path: Path, claims: Claims
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "b.breaks").touch()
    (notes / "a.hangs").touch()
    (notes / "b.meets").write_text("a")
    running = execution([toy_node("a"), toy_node("b")], tmp_path / "run", ToyWork(str(notes)), claims, fail_fast=True)
    with pytest.raises(PolyglossaError, match="b: b is told to break"):
        running.run()
    assert running.stays["a"].outcome == "stopped"
    stopped = int((notes / "a.began").read_text())
    assert gone(stopped), "a worker group that it had started would go on"
    assert not list((tmp_path / "run/artifacts").rglob(MARKER))


def test_an_artifact_deleted_while_others_read_it_is_one_clear_error(
    ray_local: None, tmp_path: Path, claims: Claims
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "left.deletes").touch()
    with pytest.raises(ArtifactError, match=r"left: .*first-.*: was deleted while others read it\. Run the same"):
        execution(DIAMOND[:2], tmp_path / "run", ToyWork(str(notes)), claims).run()


def test_small_trainings_share_a_worker_group_and_a_failure_is_that_ones_alone(
    ray_local: None, tmp_path: Path, claims: Claims
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "b.breaks").touch()
    nodes = [toy_node(name) for name in "abc"]
    one = {"concurrent_nodes": 1}
    running = execution(nodes, tmp_path / "run", ToyWork(str(notes)), claims, shares=True, profile=one)
    with pytest.raises(DataError, match="b: b is told to break"):
        running.run()
    assert set(running.made) == {"a", "c"}
    (notes / "b.breaks").unlink()
    other = execution(nodes, tmp_path / "whole", ToyWork(str(notes)), claims, shares=True, profile=one)
    one, two = run_while_others_wait(other, notes, "a", "b", "c")
    assert two in other.stays[one].together_with
    assert most_at_once(list(other.stays.values())) == 1


def test_another_run_makes_what_both_need_and_this_one_waits(ray_local: None, tmp_path: Path, claims: Claims) -> None:
    work = ToyWork(str(tmp_path / "notes"), seconds=1.0)
    ours = execution(DIAMOND, tmp_path / "run", work, claims)
    with Claims(str(tmp_path / "run")) as others:
        theirs = execution(DIAMOND, tmp_path / "run", work, others)
        thread = threading.Thread(target=theirs.run)
        thread.start()
        time.sleep(0.3)
        ours.run()
        thread.join()
    assert sorted(one["name"] for one in lines(tmp_path / "notes")) == ["first", "last", "left", "right"]
    assert set(ours.made) | set(theirs.made) == {"first", "last", "left", "right"}
    assert "made by another run" in {stay.outcome for one in (ours, theirs) for stay in one.stays.values()}
