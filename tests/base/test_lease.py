"""Protects shared storage: of several runs that want one thing, one makes it; a dead one's lease passes on."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

from polyglossa.lease import FOLDER, Claims, held

NAME = "train-0123"
_HOLD = (
    "import sys, time\n"
    "from polyglossa.lease import Claims\n"
    "claims = Claims(sys.argv[1]); claims.enter(sys.argv[2])\n"
    "assert claims.holds(sys.argv[2]); print('held', flush=True); time.sleep(60)\n"
)


def until(condition, seconds: float = 10.0) -> bool:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(condition())


def test_the_first_in_line_holds_and_the_next_one_follows_when_it_leaves(tmp_path: Path) -> None:
    with Claims(str(tmp_path)) as first, Claims(str(tmp_path)) as second:
        first.enter(NAME)
        second.enter(NAME)
        assert first.holds(NAME)
        assert not second.holds(NAME)
        assert "process" in str(second.holder(NAME))
        first.leave(NAME)
        assert second.holds(NAME)
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_leases_of_other_names_do_not_wait_for_each_other(tmp_path: Path) -> None:
    with Claims(str(tmp_path)) as first, Claims(str(tmp_path)) as second:
        first.enter(NAME)
        second.enter(f"{NAME}.and-more")
        assert first.holds(NAME)
        assert second.holds(f"{NAME}.and-more")


def test_many_at_once_are_served_one_after_another(tmp_path: Path) -> None:
    inside, most, order = [], [0], []

    def take(number: int) -> None:
        with held(str(tmp_path), NAME):
            inside.append(number)
            most[0] = max(most[0], len(inside))
            time.sleep(0.01)
            order.append(number)
            inside.remove(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert sorted(order) == list(range(4))


def test_the_lease_of_a_killed_process_of_this_machine_passes_on_in_seconds(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path), NAME], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with Claims(str(tmp_path)) as claims:
        claims.enter(NAME)
        assert not claims.holds(NAME)
        holder.kill()
        holder.wait()
        assert until(lambda: claims.holds(NAME))


def test_a_claim_of_another_machine_dies_of_silence_and_its_owner_learns_that_it_lost(tmp_path: Path) -> None:
    far = Claims(str(tmp_path), beat_seconds=600)
    far.enter(NAME)
    assert far.holds(NAME)
    (file,) = (tmp_path / FOLDER).iterdir()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"machine": "elsewhere"}))
    with Claims(str(tmp_path), expiry_seconds=0.3) as near:
        near.enter(NAME)
        assert not near.holds(NAME)
        assert until(lambda: near.holds(NAME))
        far._beat_seconds = 0.01
        slow = Claims(str(tmp_path), beat_seconds=0.01)
        slow._own[NAME] = far._own[NAME]
        slow._held.add(NAME)
        threading.Thread(target=slow._keep_alive, daemon=True).start()
        assert until(lambda: slow.lost(NAME))
        assert not slow.holds(NAME)
        slow.enter(NAME)
        assert not slow.holds(NAME)  # it stands behind the one that took over
        near.leave(NAME)
        assert slow.holds(NAME)
        slow.close()


def test_a_claim_that_is_rewritten_outlives_any_number_of_looks(tmp_path: Path) -> None:
    with Claims(str(tmp_path), beat_seconds=0.02) as far, Claims(str(tmp_path), expiry_seconds=0.5) as near:
        far.enter(NAME)
        near.enter(NAME)
        (theirs,) = [file for file in (tmp_path / FOLDER).iterdir() if far._own[NAME].claim_id in file.name]
        assert theirs.exists()
        assert not until(lambda: near.holds(NAME), seconds=1.2)


class OutOfReach:
    """A file system whose machine does not answer."""

    def get_file_info(self, path: str) -> None:
        raise OSError("no route to host")


def test_storage_that_is_out_of_reach_for_a_moment_costs_no_lease(tmp_path: Path) -> None:
    with Claims(str(tmp_path), beat_seconds=0.01) as claims:
        claims.enter(NAME)
        assert claims.holds(NAME)
        there = claims._filesystem
        claims._filesystem = OutOfReach()  # type: ignore[assignment]
        time.sleep(0.1)
        claims._filesystem = there
        (file,) = (tmp_path / FOLDER).iterdir()
        before = json.loads(file.read_text())["beat"]
        assert until(lambda: json.loads(file.read_text())["beat"] > before)


def test_a_half_written_claim_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / f"{NAME}.aaaa.json").write_text("{")
    with Claims(str(tmp_path), expiry_seconds=0.3) as claims:
        claims.enter(NAME)
        assert not claims.holds(NAME)
        assert until(lambda: claims.holds(NAME))
