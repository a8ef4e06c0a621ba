"""Collation: ranks together receive the same batch for any number of them (promise 1), and nothing is mixed up."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data.toy_packs import EOS, ToySource, teacher_state, text_tokens, write_pack, write_teacher
from polyglossa.data import bundles
from polyglossa.data.batch import RankBatch
from polyglossa.data.bundles import BundleReader, TeacherStore, iter_bundles
from polyglossa.data.feed_spec import steps_table
from polyglossa.data.plan_types import PlanSettings
from polyglossa.data.stream import FeedSpec, local_batches, open_plan, validation_batches
from polyglossa.errors import ArtifactError, DataError
from polyglossa.records import text_id

SOURCES = [
    ToySource("large", 150, negatives=5, validation=40),
    ToySource("small", 21, negatives=5, validation=3),
    ToySource("kinds", 70, "classification", negatives=3),
]
WIDTH = 6


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_pack(tmp_path_factory.mktemp("pack"), SOURCES)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, pack: str) -> str:
    return write_teacher(tmp_path_factory.mktemp("teacher"), pack, SOURCES, WIDTH)


def spec_of(pack: str, teacher: str | None = None, **settings: object) -> FeedSpec:
    settings = {"global_batch": 32, "negatives": 3, "epochs": 2, **settings}
    return FeedSpec(pack, PlanSettings(**settings), 64, teachers=(TeacherStore(teacher, 4),) if teacher else ())


def table_texts(ranks: list[RankBatch]) -> list[list[int]]:
    """Tokens of each table row, put together from what all ranks embed."""
    gathered: list[list[int]] = []
    for batch in ranks:
        own = [part.tolist() for c in batch.chunks if not c.dummy for part in c.tokens.split(c.lengths_B.tolist())]
        assert len(own) == len(batch.own_R)
        gathered += own + [[]] * (batch.rows_per_rank - len(own))
    return [gathered[position] for position in ranks[0].gather_T.tolist()]


def ranks_of(spec: FeedSpec, step: int, world: int) -> list[RankBatch]:
    return [next(local_batches(spec, rank=rank, world=world, start=step)) for rank in range(world)]


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_the_batch_is_the_same_for_any_number_of_ranks(pack: str, world: int) -> None:
    spec = spec_of(pack)
    for step in range(open_plan(spec).total_steps):
        (whole,), ranks = ranks_of(spec, step, 1), ranks_of(spec, step, world)
        assert table_texts(ranks) == table_texts([whole])
        for batch in ranks:
            assert len(batch.chunks) == len(ranks[0].chunks)
            for name in ("query_Q", "positive_Q", "negatives_QN", "group_Q", "source_Q"):
                assert torch.equal(getattr(batch, name), getattr(whole, name))
            assert (batch.tokens, batch.padded_tokens) == (whole.tokens, whole.padded_tokens)


def test_chunks_and_their_dropout_seeds_do_not_depend_on_the_number_of_ranks(pack: str) -> None:
    def chunks(world: int) -> set[tuple[int, int, tuple[int, ...]]]:
        ranks = ranks_of(spec_of(pack), 3, world)
        return {(c.start, c.seed, tuple(c.tokens.tolist())) for b in ranks for c in b.chunks if not c.dummy}

    assert chunks(1) == chunks(2) == chunks(5)
    assert len({seed for _, seed, _ in chunks(1)}) == len(chunks(1))


def test_a_rank_concatenates_its_chunks_in_the_order_of_its_rows(pack: str) -> None:
    for batch in ranks_of(spec_of(pack), 2, 2):
        rows = [c.start + i for c in batch.chunks if not c.dummy for i in range(len(c.lengths_B))]
        assert rows == batch.own_R.tolist()


def test_examples_point_at_their_own_texts(pack: str) -> None:
    spec = spec_of(pack)
    plan = open_plan(spec)
    for step in range(plan.total_steps):
        (batch,) = ranks_of(spec, step, 1)
        texts = table_texts([batch])
        rows = [(plan.sources[p.source].name, p.bundle * 32 + int(r)) for p in plan.at(step).parts for r in p.rows]
        for example, (name, row) in enumerate(rows):
            assert texts[batch.query_Q[example]] == text_tokens(f"{name} query {row}")
            assert texts[batch.positive_Q[example]] == text_tokens(f"{name} positive {row // 2}")
            mined = [text_tokens(f"{name} negative {row} {turn}") for turn in range(5)]
            chosen = [texts[i] for i in batch.negatives_QN[example].tolist() if i >= 0]
            assert all(negative in mined for negative in chosen)
            assert batch.positive_score_Q[example] == pytest.approx(row / 1000)


def test_each_distinct_text_is_embedded_once(pack: str) -> None:
    (batch,) = ranks_of(spec_of(pack), 0, 1)
    texts = [tuple(text) for text in table_texts([batch])]
    assert len(texts) == len(set(texts)) == batch.texts
    assert len(batch.positive_Q.unique()) < len(batch.positive_Q)
    assert all(text[-1] == EOS for text in texts)


def test_one_choice_of_negatives_holds_for_the_batch_and_changes_with_the_step(pack: str) -> None:
    spec = spec_of(pack)
    plan = open_plan(spec)
    choices = []
    for step in range(plan.total_steps):
        (batch,) = ranks_of(spec, step, 1)
        if batch.source != "large":
            continue
        texts = table_texts([batch])
        rows = [p.bundle * 32 + int(r) for p in plan.at(step).parts for r in p.rows]
        full = set()
        for row, negatives in zip(rows, batch.negatives_QN.tolist(), strict=True):
            mined = [text_tokens(f"large negative {row} {turn}") for turn in range(5 if row % 3 else 2)]
            ranks = [mined.index(texts[i]) for i in negatives if i >= 0]
            # A row that is short of negatives uses all it has.
            assert len(ranks) == len(set(ranks)) == min(3, len(mined))
            if row % 3:
                full.add(tuple(ranks))
        assert len(full) == 1
        choices += full
    assert len(set(choices)) > 1


def test_rows_without_enough_negatives_are_filled_with_none(pack: str) -> None:
    (batch,) = ranks_of(spec_of(pack, negatives=5), 0, 1)
    short = (batch.negatives_QN < 0).sum(1)
    assert set(short.tolist()) <= {0, 2, 3}
    assert short.max() > 0


def test_training_in_batch_only_reads_no_negatives(pack: str) -> None:
    spec = spec_of(pack, negatives=0)
    assert list(open_plan(spec).skipped) == ["kinds"]
    (batch,) = ranks_of(spec, 0, 1)
    assert batch.negatives_QN.shape == (32, 0)


def test_teacher_states_follow_the_text_table_and_are_cut_to_the_student(pack: str, teacher: str) -> None:
    spec = spec_of(pack, teacher)
    for world in (1, 2):
        ranks = ranks_of(spec, 1, world)
        known = {tuple(text_tokens(text)): teacher_state(text_id(text), 4) for text in _all_texts()}
        for batch in ranks:
            assert batch.teacher_TE is not None
            assert batch.teacher_TE.dtype == torch.float16
            wanted = np.array([known[tuple(tokens)] for tokens in table_texts(ranks)])
            assert np.array_equal(batch.teacher_TE.numpy(), wanted)


def test_a_teacher_store_of_another_pack_is_refused(tmp_path: Path, pack: str) -> None:
    changed = [ToySource("large", 149, negatives=5), *SOURCES[1:]]
    foreign = write_teacher(tmp_path / "t", write_pack(tmp_path / "p", changed), changed, WIDTH)
    with pytest.raises(ArtifactError, match="another pack"):
        list(local_batches(spec_of(pack, foreign)))


def test_validation_passes_over_every_row_once_whatever_the_number_of_ranks(pack: str) -> None:
    spec = spec_of(pack)
    batches = list(validation_batches(spec))
    assert [(b.source, len(b.query_Q)) for b in batches] == [("large", 32), ("large", 8), ("small", 3)]
    second = list(validation_batches(spec, rank=1, world=2))
    assert [b.query_Q.tolist() for b in second] == [b.query_Q.tolist() for b in batches]
    assert [b.source for b in validation_batches(spec, limit=1)] == ["large", "small"]


def test_the_table_of_steps_tells_what_each_step_holds(pack: str) -> None:
    text = steps_table(spec_of(pack, negatives=0), 0, 3)
    assert "12 steps, 6 an epoch, 32 rows a step" in text
    assert "not trained on: kinds" in text
    assert len([line for line in text.splitlines() if line.startswith(("0 ", "1 ", "2 "))]) == 3


def test_an_unknown_source_is_named(pack: str) -> None:
    spec = FeedSpec(pack, PlanSettings(32), 64, sources=("nowhere",))
    with pytest.raises(DataError, match="source 'nowhere' is not in the pack; it has large, small, kinds"):
        open_plan(spec)


def test_bundles_are_walked_in_order(pack: str) -> None:
    walked = list(iter_bundles(pack, "large"))
    assert [(path, group) for path, group, _ in walked] == [("bundles/large.parquet", n) for n in range(5)]
    reader = BundleReader(pack, cache_bytes=1)
    assert all(
        reader.read("large", n).query_Q.tolist() == table["query"][0].as_py() for n, (_, _, table) in enumerate(walked)
    )


def test_a_reader_of_many_files_keeps_the_last_open(pack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    every = BundleReader(pack, cache_bytes=0)
    monkeypatch.setattr(bundles, "OPEN_FILES", 1)
    one = BundleReader(pack, cache_bytes=0)
    for source in ("large", "small", "kinds", "large"):
        assert one.read(source, 0).tokens.tolist() == every.read(source, 0).tokens.tolist()
        assert len(one._files) == 1


def _all_texts() -> list[str]:
    names = [(source.name, row) for source in SOURCES for row in range(source.rows)]
    texts = [f"{name} query {row}" for name, row in names] + [f"{name} positive {row // 2}" for name, row in names]
    return texts + [f"{name} negative {row} {turn}" for name, row in names for turn in range(5)]
