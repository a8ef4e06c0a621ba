"""Protects the benchmarks' page: it shows the records as they are, each with processor, date and commit."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[2] / "jobs/bench"


@pytest.fixture(scope="module")
def report() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_report", BENCH / "report.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def records(report: ModuleType) -> list[dict[str, object]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in report.records()]


def test_the_page_is_what_the_records_say(report: ModuleType, records: list[dict[str, object]]) -> None:
    page = (BENCH / "README.md").read_text(encoding="utf-8")
    assert report.fill(page, report.render(records)) == page


def test_every_record_says_where_when_and_with_which_code_it_was_measured(
    records: list[dict[str, object]],
) -> None:
    for record in records:
        assert {"benchmark", "title", "command", "processor", "date", "commit", "seeds"} <= set(record), record["title"]
        assert record["processor"]
        assert record["commit"]


def test_a_benchmark_s_own_object_becomes_a_table_by_path(report: ModuleType) -> None:
    record = {
        "title": "Toy", "command": "make bench-toy", "processor": "one core", "date": "2026-01-02", "commit": "abc",
        "seeds": [0, 1], "figures": {"train": {"ratio": 1.5}, "name": "a|b"}, "note": "",
    }  # fmt: skip
    assert report.render([record]) == (
        "### Toy\n\n`make bench-toy` · one core · 2026-01-02 · commit abc · seeds [0, 1]\n\n"
        "| figure | value |\n| --- | --- |\n| train.ratio | 1.5 |\n| name | a\\|b |\n"
    )


def test_the_last_line_of_a_benchmark_is_saved_and_its_title_stays(
    report: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    (tmp_path / "toy.json").write_text('{"title": "A toy"}')
    output = tmp_path / "toy.txt"
    output.write_text('warming up\n{"ratio": 2.0}\n')
    report.save("toy", output)
    saved = json.loads((tmp_path / "toy.json").read_text())
    assert (saved["title"], saved["command"], saved["figures"]) == ("A toy", "make bench-toy", {"ratio": 2.0})
    output.write_text("stopped\n")
    with pytest.raises(SystemExit, match="no JSON object"):
        report.save("toy", output)
