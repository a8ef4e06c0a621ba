"""A wrong request is refused at once: before the code of models, which takes seconds to load."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from polyglossa.cli.command import errors_in_one_line

ROOT = Path(__file__).parents[2]
WRONG = {
    "serve --model x=/nowhere": "/nowhere: no model directory",
    "serve --model x": "--model x: write NAME=PATH",
    "serve --model Small=MODEL": "members.0.name: got \"Small\"",
    "export nowhere --to onnx": "nowhere: no model directory",
    "export MODEL --to pickle": "--to pickle: not a format",
    "embed nowhere.jsonl --member x --out o": "x: no model directory",
    "evaluate nowhere --task STS17": "nowhere: no model directory",
    "compare nowhere elsewhere": "nowhere: no evaluation",
    "gate nowhere.yaml": "nowhere.yaml: cannot be read",
    "prune search nowhere.yaml --budget 1M": "nowhere.yaml: cannot be read",
    "prune search MODEL/../toy.yaml --budget much": "--budget much: write parameters",
    "init nowhere.csv --yes": "nowhere.csv: is not there",
    "run nowhere.yaml": "nowhere.yaml: cannot be read",
    "run MODEL/../toy.yaml --set nothing.here=1": "nothing",
    "search nowhere.yaml question": "nowhere.yaml: cannot be read",
    "plan MODEL/../toy.yaml --prices cpu=-1": "cpu costs -1.0 a node-hour",
    "plan MODEL/../toy.yaml --prices cpu=nan": "cpu costs nan a node-hour",
}  # fmt: skip
PROGRAM = """
import json, sys
from typer.testing import CliRunner
from polyglossa.cli.app import app
from polyglossa.errors import UserError
for words in json.loads(sys.argv[1]):
    done = CliRunner().invoke(app, words)
    print(json.dumps([words, isinstance(done.exception, UserError), str(done.exception), "torch" in sys.modules]))
"""


def test_a_wrong_request_is_refused_before_a_models_code_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}")
    (tmp_path / "toy.yaml").write_text((ROOT / "jobs/recipes/quickstart.yaml").read_text())
    wanted = {tuple(words.replace("MODEL", str(tmp_path / "model")).split()): said for words, said in WRONG.items()}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(list(wanted))],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT / "platform")},
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[[")]
    assert len(told) == len(WRONG)
    for words, refused, said, loaded in told:
        assert (refused, wanted[tuple(words)] in said, loaded) == (True, True, False), (words, said)


def _written(path: Path) -> None:
    path.write_text("x")


def _made(path: Path) -> None:
    pafs.LocalFileSystem().create_dir(str(path))


@pytest.mark.parametrize("use", [_written, _made])
def test_a_place_that_cannot_be_used_is_one_line_that_names_it(use, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as ended, errors_in_one_line("polyglossa"):
        use(tmp_path / "file" / "below")
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("polyglossa: ")
    assert str(tmp_path / "file") in line


def test_a_full_disk_is_no_mistake_of_the_persons_and_other_errors_keep_their_traceback() -> None:
    with pytest.raises(SystemExit) as ended, errors_in_one_line("polyglossa"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/x")
    assert ended.value.code == 1
    with pytest.raises(ConnectionRefusedError), errors_in_one_line("polyglossa"):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")
