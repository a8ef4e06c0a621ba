"""`polyglossa cluster check` names what is wrong with a cluster, where, and what to do; all is well of a good one."""

import contextlib
import dataclasses
import http.server
import json
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.specs import CLUSTER, SPEC
from polyglossa import __version__
from polyglossa.cli.cluster import app
from polyglossa.cluster.check.collective import all_reduce
from polyglossa.cluster.check.facts import NodeFacts, try_storage
from polyglossa.cluster.check.judge import Demand, Finding, demands, judge
from polyglossa.cluster.check.table import table
from polyglossa.cluster.check.token import ask_without_token
from polyglossa.recipe import load_profile

GIB = 1024**3
GOOD = NodeFacts(
    node="a" * 56,
    group="cpu",
    host="one",
    ray=SPEC.ray,
    python=f"{SPEC.python}.4",
    polyglossa=__version__,
    image=f"{SPEC.image.repository}:{__version__}",
    clock=0.0,
    shm_free=4 * GIB,
    store=GIB,
    cpus=16.0,
    gpus=0.0,
)
TRAIN = dataclasses.replace(
    GOOD,
    node="b" * 56,
    group="train",
    image=f"{SPEC.image.repository}:{__version__}-cuda",
    cpus=96.0,
    gpus=8.0,
    devices=("NVIDIA H100 80GB HBM3, 570.86",) * 8,
)


def found(*nodes: NodeFacts, asked: tuple[Demand, ...] = (), **more: object) -> list[Finding]:
    """What is wrong with some nodes."""
    skews = {node.node: 0.0 for node in nodes} | dict(more.pop("skews", {}))  # type: ignore[call-overload]
    missing = dict(more.pop("missing", {}))  # type: ignore[call-overload]
    return [one for one in judge(SPEC, asked, nodes, missing, skews, __version__) if not one.good]


def test_a_good_cluster_passes_every_check() -> None:
    findings = judge(
        SPEC, demands(load_profile(CLUSTER / "profiles/multi-node.yaml")), [GOOD, TRAIN], {}, {}, __version__
    )
    assert [one for one in findings if not one.good] == []
    assert {one.what for one in findings} >= {
        "Ray, one version",
        "image",
        "group",
        "storage",
        "clock",
        "GPUs",
        "/dev/shm",
    }


@pytest.mark.parametrize("field", ["ray", "python", "polyglossa"])
def test_another_version_on_one_node_is_named_with_its_node(field: str) -> None:
    odd = dataclasses.replace(GOOD, node="c" * 56, **{field: "2.59.1"})
    (finding,) = found(GOOD, dataclasses.replace(GOOD, node="d" * 56), odd)
    assert finding.what.lower().startswith(field)
    assert finding.where == "cpu cccccccc"
    assert "2.59.1 on 1" in finding.found
    assert finding.to_do


def test_another_image_than_the_specs_is_named() -> None:
    (finding,) = found(dataclasses.replace(GOOD, image="elsewhere/polyglossa:old"))
    assert (finding.what, finding.found) == ("image", "elsewhere/polyglossa:old")


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (Demand("corpus", "cpu", 4, 32, 0), "a node has 16 CPUs and 0 GPUs"),
        (Demand("train", "train", 800, 8, 1), "take 100 nodes of at most 8"),
        (Demand("mine", "embeds", 1, 1, 0), "no such group"),
        (Demand("mine", "embed", 1, 1, 1), "no node came"),
    ],
)
def test_a_group_that_cannot_hold_a_stage_is_named(asked: Demand, complaint: str) -> None:
    missing = {"embed": "no node came"} if asked.group == "embed" else {}
    finding = next(one for one in found(GOOD, TRAIN, asked=(asked,), missing=missing) if one.what == "group")
    assert complaint in finding.found
    assert asked.stage in finding.where
    assert finding.to_do


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"shm_free": 64 * 1024**2}, "/dev/shm"),
        ({"storage": "cannot rename: OSError: no"}, "storage"),
        ({"devices": ("NVIDIA H100 80GB HBM3, 570.86",) * 7}, "GPUs"),
    ],
)
def test_a_fault_of_a_node_is_named_with_it(change: dict[str, object], what: str) -> None:
    (finding,) = found(dataclasses.replace(TRAIN, **change))  # type: ignore[arg-type]
    assert (finding.what, finding.where) == (what, "train bbbbbbbb")
    assert finding.to_do


def test_a_clock_that_is_wrong_and_two_drivers_are_named() -> None:
    (late,) = found(GOOD, skews={GOOD.node: -7.5})
    assert (late.what, late.found) == ("clock", "-7.5 s")
    old = dataclasses.replace(TRAIN, node="e" * 56, devices=("NVIDIA H100 80GB HBM3, 535.1",) * 8)
    (drivers,) = found(TRAIN, old)
    assert drivers.found == "535.1, 570.86"


def test_storage_that_cannot_be_written_or_is_another_one_is_told(tmp_path: Path) -> None:
    assert "cannot read" in try_storage(str(tmp_path), "word", "node")
    (tmp_path / "word").write_text("word")
    assert try_storage(str(tmp_path), "word", "node") == ""
    assert [path.name for path in tmp_path.iterdir()] == ["word"]
    assert "another folder lies under this path" in try_storage(str(tmp_path), "other", "node")


def test_storage_that_may_not_be_written_is_told() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "word").write_text("word")
        Path(folder).chmod(0o555)
        with _as_nobody():
            told = try_storage(folder, "word", "node")
        Path(folder).chmod(0o755)
    assert told.startswith("cannot write: ")


@contextlib.contextmanager
def _as_nobody() -> Iterator[None]:
    """Root may write anywhere; nobody may not."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_the_table_has_a_line_for_each_finding_and_what_to_do() -> None:
    text = table([Finding("clock", "all", True, "fine"), Finding("storage", "cpu", False, "cannot write", "mount it")])
    header, good, bad, to_do = text.splitlines()
    assert header.split() == ["check", "where", "found"]
    assert good.startswith("ok")
    assert bad.startswith("FAIL")
    assert to_do.strip() == "→ mount it"


class _Dashboard(http.server.BaseHTTPRequestHandler):
    """Answers every question with the server's status."""

    def do_GET(self) -> None:
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def dashboard(request: pytest.FixtureRequest) -> Iterator[str]:
    server = http.server.HTTPServer(("127.0.0.1", 0), _Dashboard)
    server.status = request.param  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize(("dashboard", "good"), [(401, True), (403, True), (200, False)], indirect=["dashboard"])
def test_a_dashboard_that_answers_without_a_token_is_named(dashboard: str, good: bool) -> None:
    (finding,) = ask_without_token(dashboard)
    assert finding.good == good


def test_the_sum_over_ranks_is_checked_and_timed(tmp_path: Path) -> None:
    assert all_reduce(0, 1, f"file://{tmp_path}/meet", backend="gloo", numbers=1000) == 0.0


def test_a_check_without_a_cluster_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    asked = CliRunner().invoke(app, ["check", "--folder", str(CLUSTER)])
    assert "--kubeconfig FILE" in str(asked.exception)


def test_the_check_reaches_a_cluster_through_kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for kubectl tells the token and forwards a port; one for ray tells what was submitted."""
    (tmp_path / "kubectl").write_text(
        "#!/usr/bin/env python3\n"
        "import base64, http.server, sys\n"
        "if 'secret' in sys.argv:\n"
        "    print(base64.b64encode(b'word').decode(), end='')\n"
        "else:\n"
        "    port = int(sys.argv[-1].partition(':')[0])\n"
        "    http.server.HTTPServer(('127.0.0.1', port), http.server.BaseHTTPRequestHandler).serve_forever()\n"
    )
    (tmp_path / "kubectl").chmod(0o755)
    told = tmp_path / "told.json"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("RAY_AUTH_MODE", "")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")
    monkeypatch.setattr(
        "polyglossa.cluster.check.remote.submit_check",
        lambda *asked: told.write_text(json.dumps([*map(str, asked[:3]), asked[3], os.environ["RAY_AUTH_TOKEN"]])) * 0,
    )
    done = CliRunner().invoke(
        app,
        ["check", "--folder", str(CLUSTER), "--kubeconfig", "config", "--storage", "s3://b/runs", "--no-start-nodes"],
    )
    assert done.exit_code == 0, done.output
    dashboard, spec, _, options, token = json.loads(told.read_text())
    assert dashboard.startswith("http://127.0.0.1:")
    assert spec.endswith("spec.yaml")
    assert options == ["--storage", "s3://b/runs", "--wait-seconds", "600.0", "--no-start-nodes"]
    assert token == "word"
