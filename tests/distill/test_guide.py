"""A guide masks what its stored similarities say, beside a teacher or alone, and only where it reads the language."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data.toy_packs import ToySource, plan_source, write_pack, write_teacher
from distill.conftest import MakeStore
from distill.test_training import trained
from polyglossa.artifact import Artifact
from polyglossa.data.batch import RankBatch
from polyglossa.data.bundles import BundleReader, TeacherStore
from polyglossa.data.stream import local_batches
from polyglossa.engine.objective import build_objective, examples_of
from polyglossa.engine.online_teacher import OnlineTeachers
from polyglossa.engine.stage_spec import GuideTerm, ObjectiveSpec, TeacherTerm
from polyglossa.engine.step import Budget
from polyglossa.engine.train_run import TrainRun
from polyglossa.errors import DataError
from polyglossa.objectives.batch import embedding_loss
from polyglossa.objectives.candidates import Guide
from polyglossa.recipe.sections.train import GuideConfig, TrainConfig
from polyglossa.train.guide import agreement, check_guide, guided_sources
from polyglossa.train.plan import plan_run
from train.toys import stage

SOURCES = [ToySource("one", 40), ToySource("two", 40), ToySource("kinds", 40, "classification", negatives=3)]
GUIDE = {"model": "base@stage1", "least": 0.5, "most": 1.0}


def guided(inputs: dict[str, Artifact], **changes: object) -> TrainRun:
    config = TrainConfig.of(stage(guide={**GUIDE, **changes}), distil="teacher" in inputs)
    return plan_run("toy", config, inputs, "out", "checkpoints")


def first_batch(run: TrainRun) -> RankBatch:
    return next(local_batches(run.feed))


def test_a_guides_states_follow_the_teachers_and_leave_candidates_out(
    student: Artifact, teacher: Artifact, narrow: Artifact, pack: Artifact, make_store: MakeStore
) -> None:
    inputs = {"model": student, "pack": pack, "guide": make_store(narrow, pack)}
    alone = guided(inputs)
    both = guided({**inputs, "teacher": make_store(teacher, pack)})
    assert alone.guide == both.guide == GuideTerm(16, 0.0, 1.0)
    assert [store.width for store in both.feed.teachers] == [32, 16]
    one, two = first_batch(alone), first_batch(both)
    assert one.teacher_TE is not None
    assert two.teacher_TE is not None
    assert torch.equal(two.teacher_TE[:, 32:], one.teacher_TE)
    state_TD = torch.randn(one.texts, 32, generator=torch.Generator().manual_seed(0))
    spec = ObjectiveSpec.of(stage().objective)
    _, terms = build_objective(spec, width=32, guide=alone.guide)(state_TD, one)
    _, taught = build_objective(spec, width=32, guide=both.guide, distillation_weight=1.0, teachers=[TeacherTerm(32)])(
        state_TD, two
    )
    _, without = build_objective(spec, width=32)(state_TD, replace(one, teacher_TE=None))
    guide = Guide(one.teacher_TE.float(), 0.0, 1.0)
    widths, weights = (8, 16, 32), build_objective(spec, width=32).weights  # type: ignore[attr-defined]
    _, expected = embedding_loss(
        state_TD, examples_of(one), temperature=spec.temperature, widths=widths, weights=weights, guide=guide
    )
    for found in (terms, taught):
        torch.testing.assert_close(found["in_batch"], expected["in_batch"])
        torch.testing.assert_close(found["unguided"], expected["unguided"])
    assert taught["distillation"] > 0
    assert terms["in_batch"] < without["in_batch"]


def test_a_live_teacher_and_a_stored_guide_share_a_batch(
    student: Artifact, teacher: Artifact, narrow: Artifact, pack: Artifact, make_store: MakeStore
) -> None:
    run = guided({"model": student, "pack": pack, "guide": make_store(narrow, pack)})
    batch = first_batch(run)
    live = OnlineTeachers([teacher.at("model")], [32], dtype="float32", device="cpu", budget=Budget(64, 1 << 20))
    assert batch.teacher_TE is not None
    found = live.teach(batch).teacher_TE
    assert found is not None
    assert found.shape == (batch.texts, 32 + 16)
    torch.testing.assert_close(found[:, 32:], batch.teacher_TE.float())


def test_a_guided_training_ends_in_another_model_and_validates_without_its_guide(
    tmp_path: Path, student: Artifact, narrow: Artifact, pack: Artifact, make_store: MakeStore
) -> None:
    inputs = {"model": student, "pack": pack}
    plain = trained(tmp_path, TrainConfig.of(stage(), distil=False), inputs)
    guide = {**inputs, "guide": make_store(narrow, pack)}
    other = trained(tmp_path, TrainConfig.of(stage(guide=GUIDE, validation_steps=3), distil=False), guide)
    lines = [Path(one.at("metrics.jsonl")).read_text() for one in (plain, other)]
    assert "unguided" in lines[1]
    assert "unguided" not in lines[0]
    assert plain.hash != other.hash


@pytest.mark.parametrize(("kind", "share"), [("perfect", 1.0), ("constant", 0.5), ("reversed", 0.0)])
def test_agreement_is_the_share_of_other_documents_below_the_rows_own(tmp_path: Path, kind: str, share: float) -> None:
    pack = write_pack(tmp_path / "pack", SOURCES[:1])
    bundle = BundleReader(pack).read("one", 0)
    texts = len(bundle.text_ids)
    state_TE = np.ones((texts, texts), np.float32) if kind == "constant" else np.eye(texts, dtype=np.float32)
    if kind != "constant":
        state_TE[bundle.query_Q] = state_TE[bundle.positive_Q] * (1 if kind == "perfect" else -1)
    assert agreement(replace(bundle, teacher_TE=state_TE)) == pytest.approx(share)


def test_a_guide_that_does_not_read_a_language_is_refused_with_the_sources_and_what_to_do(tmp_path: Path) -> None:
    pack = write_pack(tmp_path / "pack", SOURCES)
    store = TeacherStore(write_teacher(tmp_path / "guide", pack, SOURCES, 6))  # states that mean nothing
    sources = [plan_source(source) for source in SOURCES]
    guide = GuideConfig(model="some/model")
    assert guided_sources(guide, sources) == (0, 1)
    with pytest.raises(
        DataError,
        match=r"does not know the texts of 2 of 2 sources: .*\(\w+ 0\.\d\d, \w+ 0\.\d\d; chance is 0\.50, guide\.least "
        r"0\.80\)\. Name in guide\.sources those that it reads \(none of them\)",
    ):
        check_guide(guide, sources[:2], pack, store)
    check_guide(GuideConfig(model="some/model", least=0.5), [], pack, store)
    with pytest.raises(DataError, match=r"guide.sources: 'tow' is not trained on; there are one, two, kinds"):
        guided_sources(GuideConfig(model="some/model", sources=("tow",)), sources)


def test_rows_of_sources_that_are_not_named_are_not_guided(
    student: Artifact, narrow: Artifact, pack: Artifact, make_store: MakeStore
) -> None:
    run = guided({"model": student, "pack": pack, "guide": make_store(narrow, pack)}, sources=("beta",))
    assert run.guide is not None
    assert run.guide.sources is not None
    objective = build_objective(ObjectiveSpec.of(stage().objective), width=32, guide=run.guide)
    shares = {}
    for batch in local_batches(run.feed):
        if batch.in_batch:
            _, terms = objective(torch.randn(batch.texts, 32), batch)
            shares[batch.source] = float(terms["unguided"])
    assert shares["alpha"] == 1.0
    assert shares["beta"] < 1.0


def test_a_pack_without_a_re_scorers_scores_is_refused_before_the_training_begins(
    student: Artifact, pack: Artifact
) -> None:
    config = TrainConfig.of(stage(objective={"terms": {"margin_mse": 1.0}}), distil=False)
    with pytest.raises(DataError, match=r"holds no scores of candidates.*Set mine\.rescore, or leave these terms out"):
        plan_run("toy", config, {"model": student, "pack": pack}, "out", "checkpoints")
