"""A member is promoted only if every condition of the gate holds; otherwise each that does not is named."""

from typing import Any

from polyglossa.evaluate.scoring.gate import check_gate
from polyglossa.recipe.sections.evaluate import GateConfig


def summary(**means: float) -> dict[str, Any]:
    tasks = {
        task: {"mean": mean, "by_language": {"deu": mean, "yor": mean - 0.2}, "widths": {"8": mean * 0.9, "16": mean}}
        for task, mean in means.items()
    }
    return {"tasks": tasks, "failed": {}, "dim": 16, "mean": sum(means.values()) / len(means)}


def test_without_a_gate_everyone_passes() -> None:
    assert check_gate(None, summary(names=0.1)).passed


def test_a_gate_that_holds_gives_no_reason() -> None:
    gate = GateConfig(mean=0.5, worst_language=0.3, half_width_keeps=0.85, largest_loss=0.01)
    assert check_gate(gate, summary(names=0.6), summary(names=0.605)).reasons == ()


def test_each_condition_that_fails_is_named() -> None:
    gate = GateConfig(mean=0.7, worst_language=0.5, half_width_keeps=0.95, largest_loss=0.01)
    reasons = check_gate(gate, summary(names=0.6), summary(names=0.7, code=0.4)).reasons
    assert len(reasons) == 5
    assert any("yor" in reason for reason in reasons)
    assert any("code was judged for the current model" in reason for reason in reasons)


def test_a_task_that_failed_stops_promotion() -> None:
    judged = {**summary(names=0.9), "failed": {"code": "no data"}}
    assert check_gate(GateConfig(mean=0.5), judged).reasons == ("code was not judged: no data",)
