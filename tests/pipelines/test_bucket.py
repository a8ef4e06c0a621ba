"""Protects promise 6 where storage is a bucket: a whole run with nothing on a disk that nodes share, and its rerun."""

from collections.abc import Iterator

import pyarrow.fs as pafs
import pytest

from pipelines.tiny import start
from polyglossa.artifact import open_storage, read_json
from s3 import loopback_s3

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with loopback_s3() as uri:
        yield uri


def run(storage: str) -> str:
    running = start(storage)
    out, err = running.communicate(timeout=1200)
    assert running.returncode == 0, out + err
    return out + err


def files(uri: str) -> dict[str, str]:
    """Time of every file by its path."""
    filesystem, path = open_storage(uri)
    found = filesystem.get_file_info(pafs.FileSelector(path, recursive=True))
    return {one.path: str(one.mtime) for one in found if one.type == pafs.FileType.File}


def test_a_run_in_a_bucket_ends_with_results_a_report_and_a_checked_endpoint_and_a_rerun_makes_nothing(
    bucket: str,
) -> None:
    run(f"{bucket}/runs")
    results = read_json(f"{bucket}/runs/quickstart/results.json")
    assert set(results["members"]) == {"base", "small"}
    made = files(f"{bucket}/runs/quickstart/artifacts")
    (check,) = (path for path in made if path.endswith("check.json"))
    assert min(read_json(f"s3://{check}")["least_cosine"].values()) >= 0.9999
    assert any(path.endswith("report.html") for path in made)
    committed = {path.rpartition("/")[0] for path in made if path.endswith("/COMMITTED")}
    assert {path.rpartition("/")[0] for path in made if path.endswith("/manifest.json")} == committed
    run(f"{bucket}/runs")
    assert files(f"{bucket}/runs/quickstart/artifacts") == made
