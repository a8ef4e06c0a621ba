"""Steps of pieces: what is done is not done again, and a full disk costs the unfinished pieces alone (promise 6)."""

import errno
from pathlib import Path
from typing import Any

import pytest
import ray.exceptions

from polyglossa.errors import ArtifactError, DataError, MemoryShortageError, StorageError
from polyglossa.recipe.placement import StagePlacement
from polyglossa.runtime.console import Bar
from polyglossa.scratch.steps import Steps
from polyglossa.scratch.task_store import TaskStore

FULL = OSError(errno.ENOSPC, "No space left on device")
REFUSED = OSError("When creating key 'a' in bucket 'b': AWS Error ACCESS_DENIED during PutObject operation: no")


def steps_in(root: Path, plan: dict[int, Exception], lineage: str = "one") -> Steps:
    bar = Bar("test", None, "pieces")
    return Steps(str(root), lineage, plan, StagePlacement(), bar, in_driver=True)


def write(work: TaskStore, plan: dict[int, Exception], item: int) -> dict[str, Any]:
    Path(work.at("data")).write_bytes(b"0" * 1000)
    if item in plan:
        raise plan[item]
    return {"item": item}


@pytest.mark.parametrize("refusal", [FULL, REFUSED, PermissionError(errno.EACCES, "Permission denied")])
def test_storage_that_takes_no_more_is_told_what_is_needed_and_keeps_what_is_done(
    tmp_path: Path, refusal: OSError
) -> None:
    with pytest.raises(StorageError, match=r"2 of its 4 pieces are done and stay; the others need about .* GiB more"):
        steps_in(tmp_path, {2: refusal}).run("write", write, range(4))
    steps = steps_in(tmp_path, {0: FULL, 1: FULL})  # they are not done again
    assert [work.figures()["item"] for work in steps.run("write", write, range(4))] == [0, 1, 2, 3]


def test_workers_ended_for_memory_are_told_with_what_is_done_and_what_to_change(tmp_path: Path) -> None:
    ended = ray.exceptions.OutOfMemoryError("Task was killed due to the node running low on memory.\nDetails: many.")
    with pytest.raises(MemoryShortageError, match=r"running low on memory.\). 1 of its 4 pieces are done and stay"):
        steps_in(tmp_path, {1: ended}).run("write", write, range(4))


@pytest.mark.parametrize("error", [DataError("bad"), ArtifactError("lost")])
def test_errors_for_a_person_keep_their_kind(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        steps_in(tmp_path, {0: error}).run("write", write, range(1))


def test_another_lineage_meets_no_old_work(tmp_path: Path) -> None:
    (first,) = steps_in(tmp_path, {}).run("write", write, range(1))
    (other,) = steps_in(tmp_path, {}, lineage="two").run("write", write, range(1))
    assert first.at("data") != other.at("data")
