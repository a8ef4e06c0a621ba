"""Work is cut so that workers end together, and a verdict is kept under all that shapes it."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polyglossa.artifact import Artifact
from polyglossa.errors import DataError
from polyglossa.evaluate.plan import in_order, plan_heldout, plan_local, unreadable_tasks
from polyglossa.evaluate.result_cache import ResultCache, result_key
from polyglossa.evaluate.scoring.statistics import Samples
from polyglossa.evaluate.scoring.task_result import TaskResult, join
from polyglossa.evaluate.tasks.prompts import prompts_for
from polyglossa.evaluate.tasks.tables import read_table
from polyglossa.recipe.sections.evaluate import BitextTask, ClassificationTask, EvaluateConfig, StsTask


def test_shares_hold_every_language_once_and_the_largest_come_first(corpus: Artifact) -> None:
    planned = plan_heldout(EvaluateConfig(), corpus, most_shares=3)
    cldr = [share for share in in_order(planned) if share.task == "cldr"]
    assert len(cldr) == 3
    assert sorted(name for share in cldr for name in share.subsets) == ["deu", "ell", "fra", "uzb_Cyrl", "zho"]
    assert [share.rows for share in in_order(planned)] == [80, 80, 40, 40]


def test_a_pivot_that_no_row_has_is_the_reason_of_its_task(tmp_path: Path) -> None:
    table = {"index_id": [0], "language": ["deu"], "script": ["Latn"], "text": ["eins"]}
    pq.write_table(pa.table(table), tmp_path / "table.parquet")
    config = EvaluateConfig(local=(BitextTask(kind="bitext", name="b", path="table.parquet"),), data=str(tmp_path))
    [planned] = plan_local(config, 4)
    assert planned.shares == ()
    assert planned.reason is not None
    assert "eng_Latn" in planned.reason


def test_a_table_without_its_column_names_those_it_has(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"no column 'score'; it has a, b"):
        read_table(str(tmp_path / "rows.csv"), {"score": "number"})


def test_two_tasks_of_one_name_are_refused() -> None:
    task = StsTask(kind="sts", name="pydoc", path="x.parquet")
    with pytest.raises(ValueError, match="'pydoc' names two tasks"):
        EvaluateConfig(local=(task,))


def test_verdicts_are_kept_by_prompt_and_revision(tmp_path: Path) -> None:
    cache = ResultCache(str(tmp_path), "model")
    keys = {
        result_key("t", revision, prompts, (8,), {})
        for revision in ("1", "2")
        for prompts in ({}, {"query": "Instruct: x\nQuery: "})
    }
    assert len(keys) == 4
    key = keys.pop()
    samples = {"a": Samples([0.0, 1.0], [1.0, 2.0])}
    verdict = TaskResult("t", 2, "STS", "cosine_spearman", {"scores": {}}, {8: {"a": 0.5}}, samples, embedded=7)
    cache.put(key, verdict)
    found = cache.get(key)
    assert found == TaskResult("t", 2, "STS", "cosine_spearman", {"scores": {}}, {8: {"a": 0.5}}, samples)
    assert cache.get(keys.pop()) is None


def test_a_failure_is_tried_again(tmp_path: Path) -> None:
    cache = ResultCache(str(tmp_path), "model")
    cache.put("key", TaskResult("t", 1, reason="no data"))
    assert cache.get("key") is None


def test_one_failed_share_fails_its_task() -> None:
    good = TaskResult("t", 3, "STS", "m", {"scores": {"test": []}, "evaluation_time": 1.0})
    joined = join([good, TaskResult("t", 2, reason="broken")])
    assert (joined.reason, joined.rows) == ("broken", 5)


def test_pinned_prompts_win_over_the_defaults_of_a_kind() -> None:
    prompts = prompts_for({"STS": "pinned: "}, {"mine": "Find."}, instructed=True, search=True)
    assert prompts["STS"] == "pinned: "
    assert prompts["BitextMining"].startswith("Instruct: Retrieve translations")
    assert (prompts["mine-query"], prompts["mine-document"]) == ("Instruct: Find.\nQuery: ", "")


def test_a_model_without_instructions_reads_bare_texts() -> None:
    assert prompts_for({}, {"mine": "Find."}, instructed=False, search=True) == {}


def test_files_that_are_not_there_are_named_before_anything_is_made(tmp_path: Path) -> None:
    there, lost = str(tmp_path / "there.parquet"), str(tmp_path / "lost.parquet")
    pq.write_table(pa.table({"text": ["a"], "label": ["b"]}), there)
    good = ClassificationTask(kind="classification", name="good", path=there)
    bad = ClassificationTask(kind="classification", name="bad", path=there, train=lost)
    found = unreadable_tasks(EvaluateConfig(heldout=(), local=(good, bad)))
    assert found == {"bad": f"{lost} matches no file."}
    assert unreadable_tasks(EvaluateConfig(heldout=("cldr",), local=(bad,))).keys() == {"bad"}
    with pytest.raises(DataError, match=r"^evaluate: nothing could be judged: bad: .*lost\.parquet matches no file\.$"):
        unreadable_tasks(EvaluateConfig(heldout=(), local=(bad,)))
