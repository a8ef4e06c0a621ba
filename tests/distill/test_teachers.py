"""A teacher is worth the same stored or live, alone or beside others; what does not fit its student is refused."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from distill.conftest import MakeStore
from polyglossa.artifact import Artifact
from polyglossa.data.batch import RankBatch
from polyglossa.data.bundles import TeacherStore
from polyglossa.data.stream import FeedSpec, local_batches
from polyglossa.engine.embedder import Embedder, inputs_of
from polyglossa.engine.objective import build_objective
from polyglossa.engine.online_teacher import OnlineTeachers
from polyglossa.engine.stage_spec import ObjectiveSpec, TeacherTerm
from polyglossa.engine.step import Budget, gather_states
from polyglossa.errors import ArtifactError, DataError
from polyglossa.model.directory import load_model
from polyglossa.model.encoder import Encoder
from polyglossa.model.forward import TextModel
from polyglossa.train.teachers import check_live, check_store
from train.toys import make_model, make_pack, stage

BUDGET = Budget(64, 1 << 20)
STAGE = stage(objective={"matryoshka": "published", "terms": {"cosine": 0.5, "similarity_kl": 2.0}})


def batch_of(pack: Artifact, *stores: TeacherStore) -> RankBatch:
    return next(local_batches(FeedSpec.of_stage(STAGE, pack.uri, stores)))


def loss_of(student: Artifact, batch: RankBatch, *teachers: TeacherTerm) -> float:
    embedder = Embedder(load_model(student.at("model")), dtype="float32")
    state_TD = gather_states(lambda chunks: embedder(*inputs_of(chunks)), batch, BUDGET)
    objective = build_objective(
        ObjectiveSpec.of(STAGE.objective), width=32, distillation_weight=1.0, teachers=teachers or ()
    )
    return float(objective(state_TD, batch)[0])


@pytest.mark.parametrize(("stored", "tolerance"), [("float32", 1e-6), ("float16", 1e-3)])
def test_stored_and_live_teachers_give_the_same_loss(
    student: Artifact, teacher: Artifact, pack: Artifact, make_store: MakeStore, stored: str, tolerance: float
) -> None:
    store = make_store(teacher, pack, stored=stored)
    from_store = batch_of(pack, TeacherStore(store.uri, 32))
    live = OnlineTeachers([teacher.at("model")], [32], dtype="float32", device="cpu", budget=BUDGET)
    assert from_store.teacher_TE is not None
    assert from_store.teacher_TE.dtype == getattr(torch, stored)
    expected = loss_of(student, live.teach(batch_of(pack)))
    assert loss_of(student, from_store) == pytest.approx(expected, rel=tolerance)
    assert abs(loss_of(student, batch_of(pack)) - expected) > 0.1


def test_several_teachers_add_up_with_their_weights(
    student: Artifact, teacher: Artifact, pack: Artifact, root: str, make_store: MakeStore
) -> None:
    stores = [make_store(model, pack) for model in (teacher, make_model(root, hidden=40, seed=3))]
    both = batch_of(pack, *(TeacherStore(store.uri, 32) for store in stores))
    assert both.teacher_TE is not None
    without = loss_of(student, replace(both, teacher_TE=None))
    alone = [loss_of(student, batch_of(pack, TeacherStore(store.uri, 32))) - without for store in stores]
    together = loss_of(student, both, TeacherTerm(32, 0.7), TeacherTerm(32, 0.2)) - without
    assert together == pytest.approx(0.7 * alone[0] + 0.2 * alone[1], rel=1e-5)


def test_a_narrower_teacher_is_compared_through_the_projection(
    student: Artifact, narrow: Artifact, pack: Artifact, make_store: MakeStore
) -> None:
    batch = batch_of(pack, TeacherStore(make_store(narrow, pack).uri))
    embedder = Embedder(load_model(student.at("model")), dtype="float32", projections=[16])
    table_TF = torch.cat([embedder(*inputs_of([chunk])) for chunk in batch.chunks])
    assert table_TF.shape == (batch.texts, 32 + 16)
    objective = build_objective(
        ObjectiveSpec.of(STAGE.objective), width=32, distillation_weight=1.0, teachers=[TeacherTerm(16, projected=True)]
    )
    loss, terms = objective(table_TF, batch)
    loss.backward()
    assert terms["distillation"] > 0
    (weight,) = embedder.projections.parameters()
    assert weight.grad is not None
    assert weight.grad.norm() > 0


def test_texts_keep_their_places_under_another_tokenizer(tmp_path: Path, root: str, make_store: MakeStore) -> None:
    """Two packs of the same texts in other tokens: the store of one serves the other."""
    ours, theirs = make_pack(root, seed=5), make_pack(str(tmp_path), seed=5)
    for file in Path(theirs.uri).glob("bundles/*.parquet"):
        rows = pq.read_table(file).to_pylist()
        for row in rows:
            row["tokens"] = [[*tokens[:-1], 7, 8, 1] for tokens in row["tokens"]]
        table = pq.read_table(file)
        changed = table.from_pylist(rows, schema=table.schema)
        pq.write_table(changed, file, row_group_size=1)
    model = make_model(root, hidden=40, seed=4)
    store = make_store(model, theirs)
    batch = batch_of(ours, TeacherStore(store.uri))
    assert batch.teacher_TE is not None
    encoder = Encoder.load(model.at("model"))
    chunk = next(chunk for chunk in batch.chunks if not chunk.dummy)
    tokens = chunk.tokens[: int(chunk.lengths_B[0])].tolist()
    expected = encoder.states([[*tokens[:-1], 7, 8, 1]])[0].half()
    torch.testing.assert_close(batch.teacher_TE[chunk.start], expected, rtol=1e-3, atol=1e-3)


def test_a_store_without_some_of_the_rows_is_refused(
    tmp_path: Path, teacher: Artifact, pack: Artifact, make_store: MakeStore
) -> None:
    store = make_store(teacher, pack)
    (tmp_path / "bundles").mkdir()
    for file in Path(store.uri).glob("bundles/*.parquet"):
        pq.write_table(pq.read_table(file).slice(0, 1), tmp_path / "bundles" / file.name, row_group_size=1)
    with pytest.raises(ArtifactError, match=r"has no states for .*, bundle \d: it holds 1. Run distill for this pack"):
        list(local_batches(FeedSpec.of_stage(STAGE, pack.uri, [TeacherStore(str(tmp_path))])))
    (tmp_path / "bundles" / "alpha.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"it was made from other sources. Run distill"):
        list(local_batches(FeedSpec.of_stage(STAGE, pack.uri, [TeacherStore(str(tmp_path))])))


def test_a_store_of_another_corpus_or_another_order_is_refused(
    teacher: Artifact, pack: Artifact, make_store: MakeStore
) -> None:
    store = make_store(teacher, pack)
    assert check_store(store, pack) == 48
    corpus = {"hash": "1234", "uri": "elsewhere"}
    other = replace(pack, manifest={**pack.manifest, "hash": "x", "parents": {"corpus": corpus}})
    with pytest.raises(DataError, match=r"was made from another corpus. Run distill again"):
        check_store(store, other)
    config = {**pack.manifest["config"], "max_examples": 10}
    capped = replace(pack, manifest={**pack.manifest, "hash": "x", "config": config})
    with pytest.raises(DataError, match="was made from a pack with max_examples None, the student's has 10"):
        check_store(store, capped)
    with pytest.raises(DataError, match="is a pack artifact, not a teacher store"):
        check_store(pack, pack)


def test_a_live_teacher_of_another_tokenizer_is_refused(student: Artifact, teacher: Artifact, tmp_path: Path) -> None:
    from polyglossa.model.directory import build_model, save_model_directory
    from polyglossa.model.tokenizer import train_tokenizer

    check_live([teacher], {"model": student})
    tokenizer = train_tokenizer(["other words"], vocabulary=290, max_tokens=32)
    ids = {"eos": tokenizer.eos_token_id, "padding": tokenizer.pad_token_id}
    shape = {"hidden": 32, "mlp": 16, "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 8}
    model = build_model(**shape, vocabulary=290, max_tokens=32, seed=0, **ids)
    folder = str(tmp_path / "model")
    save_model_directory(folder, TextModel.of(model), tokenizer, max_tokens=32, matryoshka_widths=(32,))
    other = Artifact(str(tmp_path), {})
    with pytest.raises(DataError, match=r"another tokenizer than the student.*teacher_states: stored"):
        check_live([other], {"model": student})
