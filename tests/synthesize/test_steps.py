"""What is asked, what it costs and what comes of it are known without asking; every row is accounted for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from polyglossa.answer_store import AnswerStore
from polyglossa.errors import DataError, UserError
from polyglossa.pipeline.build import build
from polyglossa.pipeline.stages import find_stage
from polyglossa.recipe import Recipe, load_recipe
from polyglossa.recipe.sections.sources import SyntheticSource
from polyglossa.synthesize.rows import gather
from polyglossa.synthesize.select import Chosen, select_rows
from polyglossa.synthesize.steps import ANSWER, Plan, Written, keys_of, plan_writing
from tests.synthesize.writers import pairs, passages, source, translations, write_lines, writes

URL = "http://chat.test/v1"
ROOT = Path(__file__).parents[2]


def answer_all(plan: Plan, says: Callable[[str], str] = writes) -> list[Written]:
    """Answer every step at once, as a run does one after the other."""
    written = [Written(one) for one in plan.assignments]
    for step in plan.steps:
        for one in written:
            if one.reason is None:
                one.take({"text": says(step(one.assignment, one.answers)), "cut": False})
    return written


def planned(config: SyntheticSource, root: Path) -> tuple[list[Chosen], Plan]:
    rows = select_rows(config).rows
    return rows, plan_writing(config, rows, AnswerStore(str(root), "f", ANSWER))


def test_each_language_gives_so_many_rows_by_hash_whatever_their_order(tmp_path: Path) -> None:
    rows = passages(40) + passages(3, "amh") + [{"text": " ", "language": "swh"}, passages(1)[0]]
    rows += [{"text": "text", "language": None}, {"text": "text", "language": "Klingonese?"}]  # type: ignore[dict-item]
    file = write_lines(tmp_path / "a.jsonl", rows)
    found = select_rows(source(URL, file, per_language=5))
    assert sorted(row.language for row in found.rows) == ["amh"] * 3 + ["swh"] * 5
    assert found.rows_in == 47
    assert (found.left["empty_text"], found.left["unknown_language"]) == (1, 2)
    assert found.left["over_cap"] + found.left["duplicate"] == 36
    again = select_rows(source(URL, write_lines(tmp_path / "b.jsonl", rows[::-1]), per_language=5))
    assert again.rows == found.rows
    assert select_rows(source(URL, file, per_language=5, seed=1)).rows != found.rows


def test_rows_that_cannot_be_read_are_counted_and_stop_above_a_share(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_lines(path, passages(20))
    path.write_text(path.read_text() + "{broken\n")
    assert select_rows(source(URL, str(path))).left["unreadable"] == 1
    with pytest.raises(DataError, match=r"1 of 21 rows cannot be read \(invalid_json\); at most a share of 0.01"):
        select_rows(source(URL, str(path), max_rejected_share=0.01))
    with pytest.raises(DataError, match="hold no row to write about"):
        select_rows(source(URL, write_lines(tmp_path / "b.jsonl", [{"text": "", "language": "swh"}])))
    with pytest.raises(DataError, match="language 'Swahilian' is not known; give its ISO 639 code"):
        select_rows(source(URL, str(path), make=translations(into={"Swahilian": "Swahili"}), language="eng"))


def test_questions_stand_beside_their_passage_with_where_they_come_from(tmp_path: Path) -> None:
    config = source(URL, write_lines(tmp_path / "a.jsonl", passages(4)), make={"kind": "questions", "per_passage": 2},
                    columns={"language": "language"})  # fmt: skip
    rows, plan = planned(config, tmp_path)
    made, rejects, reasons = gather(config, rows, {one.assignment: one for one in answer_all(plan)})
    assert (len(made), len(rejects), reasons.total(), plan.calls) == (8, 0, 0, 4)
    by_passage = {row["positive"]: row for row in made.to_pylist()}
    row = by_passage["river tells of thing 0"]
    assert row["query"] == "Who asks about 0?"
    assert (row["language"], row["origin_language"], row["made"], row["writer"]) == ("swh", "swh", "questions", "m")
    assert len({row["origin"] for row in made.to_pylist()}) == 4
    assert len(set(made.column("prompt").to_pylist())) == 1


def test_both_sides_are_translated_into_each_language_and_a_side_that_fails_costs_its_pair(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", pairs(3))
    config = source(URL, file, make=translations(), language="eng")
    rows, plan = planned(config, tmp_path)
    assert plan.calls == 3 * 2 * 2

    def says(prompt: str) -> str:
        return "" if "stone 1 is here" in prompt and "Amharic" in prompt else writes(prompt)

    made, rejects, reasons = gather(config, rows, {one.assignment: one for one in answer_all(plan, says)})
    assert {(row["language"], row["query"]) for row in made.to_pylist()} >= {("swh", "where_x is_x river_x 0_x")}
    assert (len(made), dict(reasons)) == (5, {"empty_answer": 1})
    assert rejects.to_pylist()[0]["stage"] == "synthesize"


def test_answers_that_only_repeat_the_text_are_dropped_and_too_many_stop_the_stage(tmp_path: Path) -> None:
    config = source(URL, write_lines(tmp_path / "a.jsonl", pairs(3)), make=translations(), language="eng")
    rows, plan = planned(config, tmp_path)
    echoed = {one.assignment: one for one in answer_all(plan, lambda prompt: prompt.partition("\n\n")[2])}
    with pytest.raises(
        DataError, match=r"6 of 6 that were asked for gave no pair \(copied 6\); at most a share of 0.5"
    ):
        gather(config, rows, echoed)
    made, rejects, _ = gather(config.changed(max_dropped_share=1.0), rows, echoed)
    assert (len(made), len(rejects)) == (0, 6)


@pytest.mark.parametrize("back", [None, {"language": "English"}, {"language": "English", "model": "encoder"}])
def test_costs_are_an_upper_bound_and_kept_answers_lower_it(tmp_path: Path, back: dict[str, Any] | None) -> None:
    file = write_lines(tmp_path / "a.jsonl", pairs(4))
    config = source(URL, file, make=translations(back_translation=back), language="eng")
    rows, plan = planned(config, tmp_path)
    steps = 1 if back is None else 2 if "model" in back else 3
    assert (len(plan.steps), plan.calls, plan.kept) == (steps, 16 * steps, 0)
    store = AnswerStore(str(tmp_path), "f", ANSWER)
    for one in [Written(one) for one in plan.assignments[:5]]:
        for step in plan.steps:
            prompt = step(one.assignment, one.answers)
            answer = {"text": writes(prompt), "cut": False}
            store.append(keys_of([prompt]), pa.array([answer], ANSWER))
            one.take(answer)
    rest = plan_writing(config, rows, store)
    assert (rest.calls, rest.kept) == (11 * steps, 5 * steps)
    assert rest.tokens < plan.tokens
    assert f"m is asked at most {rest.calls} times" in rest.describe(config)
    rest.check_caps(config.changed(max_calls=rest.calls))
    with pytest.raises(UserError, match=rf"max_calls: {rest.calls} would be needed, and 10 are allowed; nothing was"):
        rest.check_caps(config.changed(max_calls=10))
    with pytest.raises(UserError, match=r"max_written_tokens: [\d,]+ would be needed, and 10 are allowed"):
        rest.check_caps(config.changed(max_written_tokens=10))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"writer": {"endpoint": None, "patience_seconds": 300.0}}, "endpoint: is missing"),
        ({"writer": {"endpoint": "http://me:sk-1@host/v1"}}, "the address holds a key"),
        ({"writer": {"texts_per_request": 4}}, "one thing a request"),
        ({"make": {"kind": "questions", "prompt": "ask"}}, "no place for the passage"),
        ({"make": {"kind": "questions", "per_passage": 2, "prompt": "{passage}"}}, "no place for the count"),
        ({"make": translations(prompt="{text}")}, "no place for the language"),
        ({"make": translations(back_translation={"language": "English", "model": "base@stage1"})}, "is trained on the"),
        ({"make": translations(), "columns": {"language": "language"}}, "translated out of one language"),
        ({"language": "swh"}, "give one of them"),
        ({"code": True}, "code: is not for"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: dict[str, Any], message: str) -> None:
    changes = {"make": {"kind": "questions"}, "columns": {"language": "language"}} | changes
    with pytest.raises(ValidationError, match=message):
        source(URL, "a.jsonl", **changes)


def test_a_recipe_has_its_pairs_written_before_the_corpus_reads_them() -> None:
    recipe = load_recipe(ROOT / "jobs/recipes/quickstart.yaml")
    plain = build(recipe)
    config = source(URL, "a.jsonl")
    corpus = recipe.corpus.changed(sources=(*recipe.corpus.sources, config))
    graph = build(Recipe.model_validate({**dict(recipe), "corpus": corpus}))
    assert "synthesize.written" not in plain.nodes
    assert next(iter(graph.nodes)) == "synthesize.written"
    assert graph.nodes["corpus"].inputs == {"synthetic:written": "synthesize.written"}
    assert [node.name for node in graph.until("synthesize")] == ["synthesize.written"]
    assert find_stage("synthesize").cost.uncounted(graph.nodes["synthesize.written"]) == "m (at most 100,000 calls)"
