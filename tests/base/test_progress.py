"""Protects the calm terminal: other libraries' chatter goes to a log file, our own lines to the person."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os, sys
from pathlib import Path
from polyglossa.progress import console, say, track
with console(Path(sys.argv[1])):
    print("chatter")
    os.system("echo deeper chatter >&2")
    with track("work", total=2) as bar:
        bar.advance(2)
    say("said")
print("after")
"""


def test_chatter_goes_to_the_log_and_what_is_said_to_the_terminal(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "run.log"
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(log)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["said", "after"]
    assert done.stderr == ""
    assert sorted(log.read_text().split("\n")[:2]) == ["chatter", "deeper chatter"]
