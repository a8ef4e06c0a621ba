"""A corpus becomes files of vectors: ids stay, a killed job goes on, no other job's vectors lie among them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polyglossa.bulk import plan
from polyglossa.bulk.faiss_index import write_index
from polyglossa.bulk.plan import EmbedJob, check_job, missing_units, open_job, plan_units
from polyglossa.bulk.run import embed_corpus
from polyglossa.bulk.unit import UnitEmbedder
from polyglossa.errors import UserError
from polyglossa.model.encoder import Encoder
from polyglossa.recipe.placement import StagePlacement
from polyglossa.vectors import as_float16, as_int8, as_sign_bits

TEXTS = [f"the river {index} and ドイツ" for index in range(40)]


@pytest.fixture
def job(member: str, tmp_path: Path) -> EmbedJob:
    rows = [{"key": f"k{index}", "text": text} for index, text in enumerate(TEXTS)]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows[:25]) + "\nnot json\n")
    pq.write_table(pa.Table.from_pylist(rows[25:]), tmp_path / "b.parquet")
    files = (str(tmp_path / "a.jsonl"), str(tmp_path / "*.parquet"))
    return EmbedJob(files, member, str(tmp_path / "out"), id_column="key")


def vectors(out: str) -> dict[str, np.ndarray]:
    tables = [pq.read_table(file) for file in sorted(Path(out, "vectors").glob("part-*.parquet"))]
    return {
        name: np.array(vector) for table in tables for name, vector in zip(*table.to_pydict().values(), strict=True)
    }


def embed_all(job: EmbedJob) -> list:
    open_job(job)
    embedder = UnitEmbedder(job)
    return [embedder.embed(unit) for unit in missing_units(job, plan_units(job))]


def test_every_row_has_the_encoders_vector_under_its_own_id(job: EmbedJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "UNIT_BYTES", 500)
    done = embed_all(job)
    assert len(done) > 3
    assert (sum(one.texts for one in done), sum(one.rejected for one in done)) == (40, 1)
    found = vectors(job.out)
    expected = Encoder.load(job.model).encode(TEXTS)
    assert list(found) != []
    for index in range(len(TEXTS)):
        np.testing.assert_allclose(found[f"k{index}"], expected[index], atol=1e-5)


def test_a_job_goes_on_with_the_units_that_are_missing_and_leaves_nothing_half(job: EmbedJob) -> None:
    embed_all(job)
    units = plan_units(job)
    whole = vectors(job.out)
    Path(units[0].target(job.out)).unlink()
    Path(job.out, "vectors", f".{units[0].name}.part").write_bytes(b"half")
    assert missing_units(job, units) == units[:1]
    embed_all(job)
    assert {name: one.tolist() for name, one in vectors(job.out).items()} == {n: o.tolist() for n, o in whole.items()}
    assert not list(Path(job.out, "vectors").glob(".*"))


def test_a_file_that_is_added_changes_no_other_unit(job: EmbedJob, tmp_path: Path) -> None:
    before = {unit.name for unit in plan_units(job)}
    pq.write_table(pa.table({"key": ["new"], "text": ["new"]}), tmp_path / "c.parquet")
    assert before < {unit.name for unit in plan_units(job)}


@pytest.mark.parametrize("change", [{"width": 8}, {"dtype": "int8"}, {"prompt": "query"}, {"id_column": None}])
def test_another_job_never_writes_among_the_vectors(job: EmbedJob, change: dict) -> None:
    open_job(job)
    open_job(job)
    with pytest.raises(UserError, match="another job"):
        open_job(replace(job, **change))


def test_without_ids_a_rows_place_is_its_id(job: EmbedJob) -> None:
    embed_all(replace(job, id_column=None))
    assert {name.split(":")[0] for name in vectors(job.out)} == {"a.jsonl", "b.parquet"}
    assert len(vectors(job.out)) == 40


@pytest.mark.parametrize(
    ("change", "said"),
    [({"width": 33}, "1 … 32"), ({"dtype": "float8"}, "float16"), ({"dtype": "binary", "width": 12}, "multiple of 8"),
     ({"prompt": "passage"}, "query, document")],
)  # fmt: skip
def test_what_the_model_does_not_have_is_refused_before_anything_starts(job: EmbedJob, change: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_job(replace(job, **change), [32], ["query", "document"])


def test_a_file_of_another_format_is_refused_by_name(job: EmbedJob, tmp_path: Path) -> None:
    (tmp_path / "x.docx").write_text("x")
    with pytest.raises(UserError, match=r"x\.docx: no format"):
        plan_units(replace(job, files=(str(tmp_path / "x.docx"),)))


def test_types_of_vectors_keep_their_directions() -> None:
    vector_ND = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)
    assert as_float16(vector_ND).dtype == np.float16
    eight = as_int8(vector_ND).astype(np.float32)
    cosine = (eight * vector_ND).sum(1) / np.linalg.norm(eight, axis=1) / np.linalg.norm(vector_ND, axis=1)
    assert cosine.min() > 0.999
    assert (np.unpackbits(as_sign_bits(vector_ND), axis=1) == (vector_ND > 0)).all()


@pytest.mark.parametrize(("dtype", "kind"), [("float16", "Flat"), ("int8", "HNSW8"), ("binary", "BFlat")])
def test_an_index_finds_each_vector_under_its_id(job: EmbedJob, dtype: str, kind: str) -> None:
    import faiss

    job = replace(job, dtype=dtype)
    embed_all(job)
    assert write_index(job, kind) == 40
    ids = pq.read_table(Path(job.out, "ids.parquet"))["id"].to_pylist()
    place = str(Path(job.out, "index.faiss"))
    index = faiss.read_index_binary(place) if dtype == "binary" else faiss.read_index(place)
    wanted = vectors(job.out)["k7"][None].astype(np.uint8 if dtype == "binary" else np.float32)
    _, rows = index.search(wanted, 40)
    assert "k7" in [ids[row] for row in rows[0][:5]]
    with pytest.raises(UserError, match="no such index"):
        write_index(job, "Nonsense")


@pytest.mark.slow
def test_ray_data_embeds_what_one_process_does(job: EmbedJob, ray_local: None) -> None:
    figures = embed_corpus(job, StagePlacement(workers=2, cpus=0.5))
    assert (figures["texts"], figures["rejected"], figures["kept"]) == (40, 1, 0)
    assert embed_corpus(job, StagePlacement(workers=1))["kept"] == 2
    expected = Encoder.load(job.model).encode(TEXTS)
    np.testing.assert_allclose(vectors(job.out)["k30"], expected[30], atol=1e-5)
