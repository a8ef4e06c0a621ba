"""Which stages a family takes: averages, own vocabularies, teachers of another tokenizer; and what is refused early."""

from pathlib import Path

import pytest

from polyglossa.errors import RecipeError
from polyglossa.pipeline.build import build
from polyglossa.pipeline.graph import Graph
from polyglossa.recipe import load_recipe

QUICKSTART = Path(__file__).parents[2] / "jobs/recipes/quickstart.yaml"
LATE = "training.stage2.late_checkpoints=2"


def graph(*overrides: str) -> Graph:
    return build(load_recipe(QUICKSTART, overrides))


def test_a_member_that_averages_is_taught_from_evaluated_and_served_as_its_average() -> None:
    nodes = graph(LATE, "members.base.merge={method: greedy_soup}").nodes
    assert nodes["merge.base"].inputs == {"model:0": "train.base.stage2", "pack": "pack.base.stage2"}
    assert nodes["evaluate.base"].inputs["model"] == "merge.base"
    assert nodes["evaluate.base.unmerged"].inputs["model"] == "train.base.stage2"
    assert nodes["serve"].inputs["model:base"] == "merge.base"
    (store,) = (node for node in nodes.values() if node.stage == "distill")
    assert store.inputs["model"] == "merge.base"


def test_a_member_may_be_an_average_of_other_models_alone() -> None:
    average = "{name: soup, merge: {models: [base@stage2, base@stage1], method: slerp}}"
    nodes = graph(f"members.small={average}", "serve.members=[soup]")
    merged = nodes.nodes["merge.soup"]
    assert merged.inputs == {"model:0": "train.base.stage2", "model:1": "train.base.stage1", "pack": "pack.base.stage2"}
    assert nodes.nodes["evaluate.soup"].inputs["model"] == "merge.soup"


def test_the_names_of_averaged_models_do_not_shape_the_artifact() -> None:
    config = graph("members.base.merge={models: [base@stage1]}").nodes["merge.base"].config
    assert "models" not in config.model_dump()


LORA, ONE = "training.stage2.lora={rank: 4}", "members.base.stages=[stage1]"
TASKS = "{name: tasks, backbone: {model: some/model}, stages: [stage1], adapters: {retrieval: stage2, sts: stage2}}"


def test_a_member_with_adapters_trains_each_from_one_model_judges_each_and_is_served_as_one() -> None:
    found = graph(LORA, f"members=[{TASKS}]", "mine.model=tasks@stage1", "serve.members=[tasks]").nodes
    assert found["train.tasks.stage2"].inputs["model"] == "train.tasks.stage1"
    adapter = "train.tasks.stage2"
    assert found["adapters.tasks"].inputs == {
        "model": "train.tasks.stage1", "adapter:retrieval": adapter, "adapter:sts": adapter
    }  # fmt: skip
    assert found["evaluate.tasks"].inputs["model"] == "train.tasks.stage1"
    assert found["evaluate.tasks.retrieval"].inputs["model"] == adapter
    assert found["serve"].inputs["model:tasks"] == "adapters.tasks"


def test_a_smaller_vocabulary_reads_the_corpus_and_packs_for_itself() -> None:
    nodes = graph("members.small.prune.vocabulary={tokens: 1024}").nodes
    assert nodes["prune.small"].inputs["corpus"] == "corpus"
    assert nodes["pack.small.stage2"].inputs["backbone"] == "prune.small"
    student = nodes["train.small.stage2"].inputs
    assert student["pack"] == "pack.small.stage2"
    assert nodes[student["teacher"]].inputs["pack"] == "pack.base.stage2"


def test_without_one_student_and_teacher_share_their_pack() -> None:
    nodes = graph().nodes
    student = nodes["train.small.stage2"].inputs
    assert nodes[student["teacher"]].inputs["pack"] == student["pack"] == "pack.base.stage2"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["members.base.merge={}"], "one model is no average; set training.stage2.late_checkpoints or `models`"),
        ([LATE, "members.base.merge={late_checkpoints: false}"], "one model is no average"),
        (
            [ONE, "members.base.adapters={sts: stage2}"],
            "training.stage2 has no `lora`, so it ends as no adapter; add it",
        ),
        (["members.base.adapters={sts: stage9}"], "members.0.adapters: 'stage9' is not one of stage1, stage2"),
        ([LORA, "members.base.adapters={S T S: stage2}"], "'S T S' is no name of a task"),
        ([LORA, "members.base.adapters={untrained: stage2}"], "'untrained' names another evaluation of the member"),
        ([LORA, "members.base.adapters={sts: stage2}"], "'stage2' is among `stages` too"),
        ([LORA, ONE, "members.base.adapters={sts: stage2}", "members.base.merge={}"], "does not go with `merge`"),
        (["members.base.merge={models: [base@stage9]}"], "it has backbone, stage1, stage2, merge"),
        (["members.base.merge={models: [base@stage2]}"], "'base@stage2' is merged anyway; leave it out"),
        (["members.base.merge={models: [base@stage1, base@stage1]}"], "named twice"),
        (["members.small.merge={models: [base@stage2]}"], "another shape"),
        (["members.base.merge={models: [small@stage2]}"], "'small' is not an earlier member"),
        (["members.small.prune.kv_heads=4"], "members.1.prune.kv_heads: 4 is wider than the 2 of 'base'"),
        (["members.base.stages=[]"], "stages: empty; name at least one training stage"),
        (["members.small.prune=null"], "give exactly one of `backbone` and `prune`, or an average alone"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        graph(*overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_corpus_that_is_cleaned_against_tasks_reads_their_texts() -> None:
    nodes = graph("corpus.decontamination.tasks=[STS22]").nodes
    assert nodes["corpus"].inputs == {"evaluation_texts": "evaluation_texts"}
    assert list(nodes)[:2] == ["evaluation_texts", "corpus"]
    assert nodes["evaluation_texts"].config.model_dump()["tasks"] == ("STS22",)
    assert "evaluation_texts" not in graph().nodes


def test_the_report_reads_the_audit_of_every_mining() -> None:
    nodes = graph("mine.refresh={stage2: base@stage1}").nodes
    assert nodes["report"].inputs["mine.stage2"] == "mine.stage2"
    assert graph().nodes["report"].inputs["mine"] == "mine"


def test_models_that_nobody_serves_are_judged_cheaply_unless_the_recipe_asks_for_more_or_nothing() -> None:
    wide = "evaluate.tasks=[STS22]"
    cheap, everything, none = (
        graph(wide, *more, LATE, "members.base.merge={}").nodes
        for more in ([], ["evaluate.untrained=all"], ["evaluate.untrained=none"])
    )
    for label in ("base.untrained", "base.unmerged"):
        assert cheap[f"evaluate.{label}"].config.model_dump()["tasks"] == ()
        assert everything[f"evaluate.{label}"].config == everything["evaluate.base"].config
        assert f"evaluate.{label}" not in none
    assert cheap["evaluate.base"].config == everything["evaluate.base"].config == none["evaluate.base"].config
    (row, *_) = none["report"].config.model_dump()["members"]
    assert row["untrained"] is None
    assert row["unmerged"] is None
    assert "evaluate.base.untrained" not in graph("evaluate.heldout=[]", wide).nodes


def test_a_guide_embeds_a_stages_texts_once_for_all_who_are_trained_on_it() -> None:
    nodes = graph("training.stage2.guide={model: base@stage1}").nodes
    (store,) = (node for node in nodes.values() if node.name.startswith("distill._guide"))
    stages = [name for name, node in nodes.items() if node.stage == "train" and "guide" in node.inputs]
    assert {nodes[name].inputs["guide"] for name in stages} == {store.name}
    assert all(".stage2" in name for name in stages)
    assert store.inputs["model"] == "train.base.stage1"
    assert store.config.model_dump()["width"] is None


def test_a_guide_from_outside_reads_the_texts_themselves() -> None:
    nodes = graph("training.stage2.guide={model: {model: some/model, query_prompt: 'q: '}}").nodes
    store = nodes["distill._guide.stage2"]
    assert store.inputs == {"pack": "pack._texts.stage2"}
    assert graph("training.stage2.guide={model: some/model}").nodes["distill._guide.stage2"].inputs == store.inputs


def test_a_guide_that_is_trained_after_its_stage_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"training.stage1.guide.model: 'base@stage2' is trained after this stage"):
        graph("training.stage1.guide={model: base@stage2}")
