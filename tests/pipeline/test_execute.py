"""Protects promise 6 for whole runs: the graph is right, a rerun makes nothing, an interrupted run goes on."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.toy_stages import name_of, toy_stages
from polyglossa.artifact import Artifact, Draft
from polyglossa.errors import RecipeError
from polyglossa.pipeline.build import build
from polyglossa.pipeline.execute import execute, worker_groups
from polyglossa.pipeline.graph import Node
from polyglossa.recipe import Profile, load_recipe
from polyglossa.runtime import console

QUICKSTART = Path(__file__).parents[2] / "jobs/recipes/quickstart.yaml"


class Stages:
    """Stands in for the stages: remembers what ran, and breaks where it is told to."""

    def __init__(self, breaks_at: str | None = None, unfinished: str | None = None) -> None:
        self.ran: list[str] = []
        self.breaks_at, self.unfinished = breaks_at, unfinished

    def __call__(self, stage: str, config: object, inputs: Mapping[str, Artifact], draft: Draft) -> None:
        name = name_of(draft)
        if name == self.breaks_at:
            raise KeyboardInterrupt
        self.ran.append(name)
        draft.write_json({}, "data.json")
        if name == self.unfinished:
            draft.unfinished, draft.identity = "no hub was reached", "half of it"


def run(everything: list[Node], root: Path, work: Stages) -> None:
    execute(everything, str(root), Profile(), stages=toy_stages(work))


def nodes(*overrides: str) -> list[Node]:
    return list(build(load_recipe(QUICKSTART, overrides)).nodes.values())


def test_every_node_comes_after_what_it_reads() -> None:
    seen: set[str] = set()
    for node in nodes():
        assert set(node.inputs.values()) <= seen, node.name
        seen.add(node.name)


def test_a_student_is_trained_with_and_without_its_teacher_in_one_worker_group() -> None:
    together = [[node.name for node in group] for group in worker_groups(nodes()) if len(group) > 1]
    assert together[0] == ["train.small.stage2", "train.small.stage2.without"]
    assert [name.partition(".")[0] for name in together[1]] == ["evaluate"] * 4


def test_a_rerun_makes_nothing_and_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    everything = nodes()
    broken = Stages(breaks_at="mine")
    with pytest.raises(KeyboardInterrupt):
        run(everything, tmp_path, broken)
    resumed, again = Stages(), Stages()
    run(everything, tmp_path, resumed)
    run(everything, tmp_path, again)
    assert broken.ran + resumed.ran == [node.name for node in everything]
    assert again.ran == []


def test_what_was_left_unfinished_is_made_anew_by_the_next_run_with_what_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(console, "say", lambda text, **style: said.append(text))
    everything = nodes()
    without_hub, still_without, with_hub, again = (Stages(unfinished=u) for u in ("evaluate.base",) * 2 + (None,) * 2)
    run(everything, tmp_path, without_hub)
    assert "  evaluate.base: no hub was reached; the same command tries again" in said
    assert without_hub.ran == [node.name for node in everything], "what there is is reported"
    run(everything, tmp_path, still_without)
    assert still_without.ran == ["evaluate.base"], "the report would say the same"
    run(everything, tmp_path, with_hub)
    assert with_hub.ran == ["evaluate.base", "report", "serve"]
    run(everything, tmp_path, again)
    assert again.ran == []


def test_a_changed_value_remakes_only_what_depends_on_it(tmp_path: Path) -> None:
    run(nodes(), tmp_path, Stages())
    changed = Stages()
    run(nodes("members.small.prune.layers=1"), tmp_path, changed)
    assert changed.ran[:3] == ["prune.small", "train.small.stage2", "train.small.stage2.without"]
    assert not {"corpus", "mine", "train.base.stage1", "train.base.stage2", "evaluate.base"} & set(changed.ran)


def test_until_a_stage_makes_that_stage_and_what_it_needs() -> None:
    graph = build(load_recipe(QUICKSTART))
    names = [node.name for node in graph.until("mine")]
    assert names == ["corpus", "backbone.base", "pack.base.stage1", "train.base.stage1", "mine"]
    with pytest.raises(RecipeError, match="has no such stage; it has corpus"):
        graph.until("minr")


def test_mining_with_a_model_that_is_trained_later_is_refused() -> None:
    with pytest.raises(RecipeError, match="name an earlier model"):
        build(load_recipe(QUICKSTART, ["mine.model=base@stage2"]))
