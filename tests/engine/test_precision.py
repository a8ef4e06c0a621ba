"""Protects one precision of a run: ranks of unlike processors compute alike, and figures say in what."""

import json
from pathlib import Path

import pytest

from engine.resumes import Job, run_jobs
from engine.settling import settled

AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


@pytest.mark.parametrize("natives", [[True, False], [False, True]])
def test_two_ranks_with_unlike_processors_compute_in_float32_alike(natives: list[bool], tmp_path: Path) -> None:
    assert settled([natives], tmp_path) == [["float32"], ["float32"]]


def test_a_run_that_began_in_float32_stays_there_and_one_that_meets_an_old_processor_goes_there(
    tmp_path: Path,
) -> None:
    groups = [[True, True], [True, False], [True, True]]
    assert settled(groups, tmp_path) == [["bfloat16", "float32", "float32"]] * 2


def test_training_on_an_old_processor_says_that_it_computes_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in AVX2.items():
        monkeypatch.setenv(name, value)
    run_jobs([Job("old", dtype="bfloat16"), Job("plain")], 2, tmp_path)
    lines = (tmp_path / "old/output/metrics.jsonl").read_text().splitlines()
    assert {json.loads(line)["dtype"] for line in lines} == {"float32"}
    told = json.loads((tmp_path / "old/output/trained.json").read_text())["precision"]
    assert (told["requested"], told["dtype"]) == ("bfloat16", "float32")
    weights = [(tmp_path / name / "output/model/model.safetensors").read_bytes() for name in ("old", "plain")]
    assert weights[0] == weights[1]
