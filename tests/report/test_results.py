"""What the report says is what was measured: each figure under the member it belongs to."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from polyglossa.artifact import Artifact
from polyglossa.errors import PolyglossaError
from polyglossa.recipe.sections.report import ReportConfig, ReportedMember
from polyglossa.report.curves import evaluation_curve, thin
from polyglossa.report.distillation_audit import audit_distillation
from polyglossa.report.lineage import lineage
from polyglossa.report.peers import peers
from polyglossa.report.results import family_results, retention
from polyglossa.report.table import results_table


@pytest.fixture
def results(config: ReportConfig, inputs: dict[str, Artifact]) -> dict[str, Any]:
    summaries = {
        role.removeprefix("evaluate:"): artifact.read_json("summary.json")
        for role, artifact in inputs.items()
        if role.startswith("evaluate:")
    }
    return family_results(config, summaries)


def test_members_carry_their_own_figures(results: dict[str, Any]) -> None:
    assert list(results["members"]) == ["base", "small"]
    base, small = results["members"].values()
    assert base["parameters"] == 32000
    assert (
        base["cldr_accuracy_mean"] > small["cldr_accuracy_mean"] > small["without_distillation"]["cldr_accuracy_mean"]
    )
    assert "without_distillation" not in base
    assert small["retention"]["binary"]["16"] == 0.7
    assert "retention" not in base
    assert set(base["widths"]) == {"8", "16", "32"}
    assert len(base["cldr_accuracy_by_language"]) == 48
    assert results["untrained"]["pydoc_ndcg10"] == pytest.approx(0.1)


def test_half_width_is_held_against_full_width() -> None:
    assert retention({"8": 0.45, "16": 0.5}, 16) == pytest.approx(0.9)
    assert retention({"16": 0.5}, 16) is None


def test_table_shows_every_member_with_and_without_its_teacher_and_the_untrained_model(
    results: dict[str, Any],
) -> None:
    table = results_table({**results, "wall_seconds": 605.2, "peak_memory_gib": 4.21})
    assert [column.header for column in table.columns] == ["", "untrained", "base", "small", "small, not distilled"]
    console = Console(width=200, file=StringIO())
    console.print(table)
    shown = console.file.getvalue()
    assert "32,000" in shown
    assert "10 min 5 s, peak memory 4.2 GiB" in shown


def test_table_shows_a_recipes_own_tasks_and_no_empty_column() -> None:
    base = {"dim": 16, "parameters": 1000, "tasks": {"faq": 0.25, "sts": 0.5}, "widths": {}}
    table = results_table({"members": {"base": base}, "untrained": {"tasks": {"faq": 0.125}}})
    assert [column.header for column in table.columns] == ["model", "parameters", "faq", "sts"]
    assert [list(column.cells) for column in table.columns] == [
        ["untrained", "base"], ["", "1,000"], ["0.1250", "0.2500"], ["", "0.5000"],
    ]  # fmt: skip


def test_where_tasks_outnumber_models_every_figure_fits_a_narrow_terminal() -> None:
    tasks = {f"task{number}": 0.1 + number / 100 for number in range(7)}
    base = {"dim": 16, "parameters": 1000, "tasks": tasks, "widths": {}}
    console = Console(width=60, file=StringIO())
    console.print(results_table({"members": {"base": base}, "untrained": {"tasks": tasks}}))
    shown = console.file.getvalue()
    assert all(name in shown and shown.count(f"{score:.4f}") == 2 for name, score in tasks.items())


def test_curves_keep_the_mean_of_the_steps_they_stand_for() -> None:
    records = [
        {"step": step, "loss": float(step), "tokens": 10, "seconds": 2.0, "data_wait": 0.5} for step in range(100)
    ]
    columns = thin(records, points=10)
    assert columns["step"] == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    assert columns["loss"][0] == pytest.approx(4.5)
    assert columns["tokens_per_second"] == [5.0] * 10
    assert columns["data_wait_share"] == [0.25] * 10


def test_a_run_shorter_than_the_page_has_points_keeps_every_step() -> None:
    assert thin([{"step": 0, "loss": 1.0}, {"step": 1, "loss": 0.5}])["loss"] == [1.0, 0.5]


def test_scores_of_evaluations_beside_a_training_stand_at_their_own_steps() -> None:
    records = [{"step": 25, "mean": 0.25}, {"step": 40, "reason": "out of memory"}, {"step": 50, "mean": 0.5}]
    assert evaluation_curve(records) == {"evaluation_step": [25, 50], "evaluation": [0.25, 0.5]}
    assert evaluation_curve(records[1:2]) == {}


def test_a_taught_run_says_what_its_teacher_gave_and_how_near_it_came(inputs: dict[str, Artifact]) -> None:
    records = [{"terms": {"hard": 1.0, "distillation": 1.0 - step / 100}} for step in range(100)]
    audit = audit_distillation("small", inputs["train:small"], records)
    assert audit is not None
    assert audit["terms"] == {"distillation": [pytest.approx(0.955), pytest.approx(0.055)]}
    (teacher,) = audit["teachers"]
    link = teacher.pop("link")
    assert teacher == {"name": "train.base", "stored": True, "texts": 400, "embedded": 300, "width": 32}
    assert link.startswith("../../distill/distill.base-")
    assert audit_distillation("base", inputs["train:base"], records) is None


def test_lineage_lists_parents_before_children(inputs: dict[str, Artifact]) -> None:
    nodes = lineage(inputs.values())
    seen: set[str] = set()
    for node in nodes:
        assert set(node["parents"].values()) <= seen
        seen.add(node["hash"])
    assert {node["stage"] for node in nodes} == {"corpus", "train", "mine", "distill", "evaluate"}


def test_peers_are_marked_on_benchmarks_that_they_were_trained_on(
    config: ReportConfig, inputs: dict[str, Artifact]
) -> None:
    summaries = {
        role.removeprefix("evaluate:"): artifact.read_json("summary.json")
        for role, artifact in inputs.items()
        if role.startswith("evaluate:")
    }
    found = peers(config, summaries)
    assert found is not None
    marks = {row["name"]: row["trained_on"] for row in found["rows"]}
    assert marks["F2LLM-v2 80M"] == {"MTEB(eng, v2)": {"tasks": ["ArguAna"], "likely": ["SIB200"]}}
    assert marks["F2LLM-v2 14B"] == marks["base"] == marks["small"] == {}


def test_where_every_task_failed_the_first_reason_is_told() -> None:
    summary = {"model": "m", "parameters": 1, "dim": 8, "tasks": {}, "failed": {"sts": "its file is not there."}}
    config = ReportConfig(members=(ReportedMember(name="m"),))
    with pytest.raises(PolyglossaError, match=r"^m: nothing was judged, so nothing can be reported: sts: its file is"):
        family_results(config, {"m": summary})
