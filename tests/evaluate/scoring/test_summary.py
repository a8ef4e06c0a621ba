"""Protects the languages of a summary: mteb calls the one subset of every monolingual task alike."""

from typing import Any

from polyglossa.evaluate.scoring.summary import scripts_of, summarise


def result(*subsets: tuple[str, list[str]]) -> dict[str, Any]:
    rows = [{"hf_subset": subset, "languages": codes, "main_score": 0.5} for subset, codes in subsets]
    return {"scores": {"test": rows}}


def test_tasks_of_one_language_are_told_apart_by_their_language() -> None:
    found = scripts_of([result(("default", ["fin-Latn"])), result(("default", ["ell-Grek"]))])
    assert found == {"ell": ("ell", "Grek"), "fin": ("fin", "Latn")}


def test_a_code_without_a_script_has_the_one_its_language_is_mostly_written_in() -> None:
    found = scripts_of([result(("default", ["kor"]), ("python", ["python"]), ("default", []), ("x", ["und"]))])
    assert found == {"default": ("und", ""), "kor": ("kor", "Kore"), "python": ("python", ""), "x": ("und", "")}


def test_a_task_of_one_language_says_which() -> None:
    assert summarise("accuracy", result(("default", ["fin-Latn"])), {}, 8)["language"] == "fin"
    for other in (result(("fin", ["fin-Latn"])), result(("default", ["fin-Latn", "swe-Latn"]))):
        assert "language" not in summarise("accuracy", other, {}, 8)
