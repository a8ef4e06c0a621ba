"""A failed trial says why in one line, whatever shape Ray Tune keeps its error in."""

from polyglossa.errors import DataError
from polyglossa.tune.trials import reason_of

TRIES = """Failure # 1 (occurred at 2026-11-23_18-43-56)
\x1b[36mray::ImplicitFunc.train()\x1b[39m (pid=1)
  File "drive.py", line 55, in drive
ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.
\tclass_name: StudentProcess
Failure # 2 (occurred at 2026-11-23_18-44-03)
ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.
Memory on the node was 22 GiB.
"""


class _DiedError(Exception):
    """Names its cause in words, as some of Ray's errors do."""

    cause = "worker process has died"


def test_the_last_try_of_a_text_with_all_tries_is_the_reason() -> None:
    assert reason_of(TRIES).startswith("ray.exceptions.OutOfMemoryError: Task was killed")


def test_a_cause_that_is_text_is_no_error_to_follow() -> None:
    assert reason_of(_DiedError("gone\nmore")) == "_DiedError: gone"


def test_the_innermost_error_speaks_and_ours_in_its_own_words() -> None:
    outer = RuntimeError("outer")
    outer.__cause__ = DataError("a.parquet: no rows.")
    assert reason_of(outer) == "a.parquet: no rows."
    assert reason_of(None) == "NoneType: None"
