"""A trial cuts, trains and judges a student in one process, and gives the same figures again."""

from dataclasses import replace
from pathlib import Path

import pytest

from distill.conftest import make_store, root, teacher
from polyglossa.artifact import Artifact
from polyglossa.pipelines.students import Ground, Student, try_student
from polyglossa.recipe.prune import PruneStage
from train.toys import make_corpus, make_model, make_pack, stage

__all__ = ["make_store", "root", "teacher"]


@pytest.fixture
def ground(root: str, teacher: Artifact, make_store) -> Ground:  # type: ignore[no-untyped-def]
    pack = make_pack(root)
    parent = make_model(root, hidden=48, seed=1)
    store = make_store(teacher, pack)
    return Ground(make_corpus(root).uri, parent.uri, pack.uri, pack.uri, store.uri, ("words",))


STUDENT = Student(
    PruneStage(hidden=24, mlp=32, layers=1, calibration_rows=16),
    stage(steps=3, objective={"teacher_terms": "similarity"}),
    distillation_weight=1.0,
)


def test_a_student_is_cut_trained_and_judged(ground: Ground, tmp_path: Path) -> None:
    outcome = try_student(STUDENT, ground)
    assert outcome.steps == 3
    assert {"distillation", "similarity_kl", "hard"} <= set(outcome.terms)
    assert 0 < outcome.scores["words"] <= 1
    assert outcome.start_scores != outcome.scores
    again = try_student(STUDENT, ground)
    assert replace(again, seconds=0) == replace(outcome, seconds=0)


def test_a_control_reads_no_teacher_and_may_start_from_scratch(ground: Ground) -> None:
    control = try_student(replace(STUDENT, stage=stage(steps=3), distillation_weight=0.0), ground)
    assert "distillation" not in control.terms
    scratch = try_student(replace(STUDENT, scratch=True), ground)
    assert scratch.parameters == control.parameters
    assert scratch.start_scores != control.start_scores
