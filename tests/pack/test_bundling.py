"""Packing: every example keeps its texts, each distinct one is tokenised once a bundle, EOS survives (4, 6)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polyglossa.artifact import write_json
from polyglossa.data.feed_spec import FeedSpec, open_plan
from polyglossa.data.plan_types import PlanSettings
from polyglossa.data.stream import local_batches
from polyglossa.engine.objective import examples_of as examples_of_batch
from polyglossa.errors import ArtifactError, DataError
from polyglossa.model.encoder import tokenize
from polyglossa.model.instructions import render
from polyglossa.model.tokenizer import train_tokenizer
from polyglossa.pack.bundling import Packed, pack_bundles
from polyglossa.pack.documents import Documents
from polyglossa.pack.examples import Examples, shuffle_examples
from polyglossa.records import DOCUMENT, MINED_PAIR, PAIR, RESCORED_PAIR, TOKEN_BUNDLE, row_id, text_id

MAX_TOKENS = 12
WORDS = ["river", "mountain", "город", "川", "बादल", "house", "light", "stone"]
TOKENIZER = train_tokenizer(WORDS * 3, vocabulary=320, max_tokens=MAX_TOKENS)
TEXTS = [f"{a} {b}" for a in WORDS for b in WORDS] + ["river " * 20]
DOCUMENTS = Documents.of(
    pa.Table.from_pylist([{"doc_id": text_id(text), "text": text, "source": "s"} for text in TEXTS], schema=DOCUMENT)
)


def pair(number: int, **changes: Any) -> dict[str, Any]:
    row = {
        "pair_id": row_id("pair", str(number)),
        "query": f"query {number}",
        "positive_ids": [text_id(TEXTS[number % 60])],
        "task": "retrieval",
        "instruction": "Find it.",
        "document_instruction": "Match it." if number % 4 == 0 else None,
        "group": f"g{number % 7}",
        "negative_ids": [text_id(TEXTS[(number + turn) % 65]) for turn in range(1, 4)],
        "split": "train",
        "source": "s",
    }
    return row | changes


def pack(
    rows: Sequence[dict[str, Any]],
    *,
    schema: pa.Schema = PAIR,
    bundle_rows: int = 16,
    prompts: tuple[str, str] = ("", ""),
    **kwargs: Any,
) -> Any:
    settings = {"source": "s", "negatives": True, "instructions": True, "seed": 0, **kwargs}
    examples = shuffle_examples(pa.Table.from_pylist(list(rows), schema=schema), **settings)
    packed = pack_bundles(
        examples,
        DOCUMENTS,
        TOKENIZER.backend_tokenizer,
        source="s",
        task="retrieval",
        max_tokens=MAX_TOKENS,
        bundle_rows=bundle_rows,
        prompts=prompts,
    )
    return examples, list(packed)


def examples_of(packed: Sequence[Packed]) -> dict[tuple[bytes, bytes], dict[str, Any]]:
    """What the bundles say of each (pair, positive text)."""
    found = {}
    for bundle in (item.table.to_pylist()[0] for item in packed):
        for number, identity in enumerate(bundle["pair_ids"]):
            indices = [bundle["query"][number], bundle["positive"][number], *bundle["negatives"][number]]
            found[(identity, bundle["text_ids"][indices[1]])] = {
                "ids": [bundle["text_ids"][index] for index in indices],
                "tokens": [bundle["tokens"][index] for index in indices],
                "group": bundle["group"][number],
                "score": bundle["positive_score"][number],
            }
    return found


def tokens_of(text: str) -> list[int]:
    return tokenize(TOKENIZER, [text], MAX_TOKENS)[0]


def test_every_example_keeps_its_texts_and_reads_them_as_the_encoder_does() -> None:
    rows = [pair(number) for number in range(100)]
    found = examples_of(pack(rows)[1])
    assert len(found) == 100
    by_id = {text_id(text): text for text in TEXTS}
    for row in rows:
        prefix = row["document_instruction"]
        documents = [render(by_id[i], prefix) for i in (*row["positive_ids"], *row["negative_ids"])]
        texts = [render(row["query"], "Find it."), *documents]
        example = found[(row["pair_id"], text_id(texts[1]))]
        assert example["ids"] == [text_id(text) for text in texts]
        assert example["tokens"] == [tokens_of(text) for text in texts]


def test_bundles_follow_the_schema_and_hold_each_distinct_text_once() -> None:
    _, packed = pack([pair(number) for number in range(100)])
    assert [item.examples for item in packed] == [16] * 6 + [4]
    for number, item in enumerate(packed):
        assert item.table.schema == TOKEN_BUNDLE
        row = item.table.to_pylist()[0]
        assert row["bundle"] == number
        assert len(row["text_ids"]) == len(set(row["text_ids"])) == item.texts
        assert sum(map(len, row["tokens"])) == item.tokens
        used = {*row["query"], *row["positive"], *(index for indices in row["negatives"] for index in indices)}
        assert used == set(range(item.texts))


def test_eos_survives_the_cut_and_the_loss_is_counted() -> None:
    long = pair(1, query="q", positive_ids=[text_id(TEXTS[-1])], negative_ids=[])
    (packed,) = pack([long], instructions=False)[1]
    tokens = packed.table["tokens"][0].as_py()[packed.table["positive"][0][0].as_py()]
    assert len(tokens) == MAX_TOKENS
    assert tokens[-1] == TOKENIZER.eos_token_id
    assert tokens == tokens_of(TEXTS[-1])
    assert packed.texts_cut == 1
    TOKENIZER.backend_tokenizer.no_truncation()
    assert packed.tokens_cut == len(TOKENIZER.backend_tokenizer.encode(TEXTS[-1]).ids) - MAX_TOKENS


def test_a_pair_with_several_positives_becomes_as_many_examples_of_one_group() -> None:
    several = pair(3, positive_ids=[text_id(TEXTS[0]), text_id(TEXTS[5]), text_id(TEXTS[9])], group=None)
    found = examples_of(pack([several, pair(4, group=None)], instructions=False)[1])
    groups = [example["group"] for (identity, _), example in found.items() if identity == several["pair_id"]]
    assert len(groups) == 3
    assert len(set(groups)) == 1
    assert len({example["group"] for example in found.values()}) == 2


def test_groups_of_two_sources_never_meet() -> None:
    groups = [
        {example["group"] for example in examples_of(pack([pair(n) for n in range(20)], source=source)[1]).values()}
        for source in ("s", "t")
    ]
    assert len(groups[0]) == len(groups[1]) == 7
    assert not groups[0] & groups[1]


def test_a_models_own_prompts_stand_before_queries_and_documents() -> None:
    rows = [pair(number, instruction=None, document_instruction=None) for number in range(3)]
    _, packed = pack(rows, instructions=False, prompts=("query: ", "passage: "))
    found = examples_of(packed)
    for number in range(3):
        asked, answer = f"query: query {number}", f"passage: {TEXTS[number]}"
        entry = next(one for (identity, _), one in found.items() if identity == row_id("pair", str(number)))
        assert entry["tokens"][:2] == [tokens_of(asked), tokens_of(answer)]


def test_a_stage_without_instructions_or_negatives_packs_neither() -> None:
    rows = [pair(number) for number in range(20)]
    _, packed = pack(rows, negatives=False, instructions=False)
    found = examples_of(packed)
    for row in rows:
        example = found[(row["pair_id"], row["positive_ids"][0])]
        assert example["ids"] == [text_id(row["query"]), row["positive_ids"][0]]
    assert sum(item.negatives for item in packed) == 0


def test_rows_without_negatives_are_packed_beside_rows_with_some() -> None:
    rows = [pair(0, negative_ids=None), pair(1), pair(2, negative_ids=[])]
    example = examples_of(pack(rows, instructions=False)[1])
    assert sorted(len(item["ids"]) for item in example.values()) == [2, 2, 5]


def test_mined_scores_travel_and_missing_ones_are_nan() -> None:
    rows = [pair(n, positive_score=0.5 if n else None, negative_scores=[0.1, 0.2, 0.3]) for n in range(2)]
    scores = [item["score"] for item in examples_of(pack(rows, schema=MINED_PAIR)[1]).values()]
    assert sorted(np.isnan(scores).tolist()) == [False, True]
    assert np.nanmax(scores) == pytest.approx(0.5)
    assert np.isnan([item["score"] for item in examples_of(pack([pair(0)])[1]).values()]).all()


def test_scores_of_pairs_reach_a_training_batch_where_the_stage_reads_them(tmp_path: Path) -> None:
    examples = pack([pair(n, score=n / 8 if n else None) for n in range(8)], negatives=False)[0]
    settings = {"source": "s", "task": "sts", "max_tokens": MAX_TOKENS, "bundle_rows": 4}
    packed = list(pack_bundles(examples, DOCUMENTS, TOKENIZER.backend_tokenizer, **settings, scores=True))
    write_pack(tmp_path, packed)
    with pytest.raises(DataError, match="sts learns from hard negatives only"):
        open_plan(FeedSpec(str(tmp_path), PlanSettings(global_batch=8), chunk_tokens=64))
    spec = FeedSpec(str(tmp_path), PlanSettings(global_batch=8, scores=True), chunk_tokens=64)
    (batch,) = local_batches(spec)
    assert batch.score_Q is not None
    scores = sorted(batch.score_Q.nan_to_num(-1.0).tolist())
    assert scores == [-1.0, *(n / 8 for n in range(1, 8))]
    assert examples_of_batch(batch).score_Q is batch.score_Q


def test_scores_of_a_re_scorer_stand_beside_their_candidates_up_to_a_training_batch(tmp_path: Path) -> None:
    score = {text_id(text): float(place) for place, text in enumerate(TEXTS)}
    rows = [
        pair(n, positive_ids=[text_id(TEXTS[n]), text_id(TEXTS[n + 20])][: 1 + n % 2], document_instruction=None)
        for n in range(8)
    ]
    for row in rows[1:]:
        row["candidate_scores"] = [score[key] for key in (*row["positive_ids"], *row["negative_ids"])]
    examples, packed = pack(rows, schema=RESCORED_PAIR, bundle_rows=4)
    assert len(examples) == 12
    write_pack(tmp_path, packed, task="retrieval", in_batch=True, examples=12, negatives=36)
    spec = FeedSpec(str(tmp_path), PlanSettings(global_batch=6, negatives=2), chunk_tokens=64)
    seen = []
    for batch in local_batches(spec):
        assert batch.candidate_score_QC is not None
        assert examples_of_batch(batch).candidate_score_QC is batch.candidate_score_QC
        texts: dict[int, list[int]] = {}
        for chunk in batch.chunks:
            parts = chunk.tokens.split(chunk.lengths_B.tolist())
            texts |= {chunk.start + place: part.tolist() for place, part in enumerate(parts)}
        known = {tuple(tokens_of(text)): score[text_id(text)] for text in TEXTS}
        for positive, negatives, scores in zip(
            batch.positive_Q.tolist(), batch.negatives_QN.tolist(), batch.candidate_score_QC.tolist(), strict=True
        ):
            own = [known[tuple(texts[row])] for row in (positive, *negatives)]
            assert np.isnan(scores).all() or scores == own
            seen.append(np.isnan(scores).all())
    assert sorted(seen) == [False] * 11 + [True]


def test_packs_without_a_re_scorer_are_what_they_were() -> None:
    for schema in (PAIR, MINED_PAIR):
        assert [item.table.schema for item in pack([pair(n) for n in range(4)], schema=schema)[1]] == [TOKEN_BUNDLE]
    scored = pack([pair(n) | {"candidate_scores": [0.0] * 4} for n in range(4)], schema=RESCORED_PAIR, negatives=False)
    assert scored[1][0].table.schema == TOKEN_BUNDLE


def write_pack(folder: Path, packed: Sequence[Packed], **changes: Any) -> None:
    (folder / "bundles").mkdir()
    pq.write_table(pa.concat_tables([one.table for one in packed]), folder / "bundles/s.parquet", row_group_size=1)
    sizes = [{"examples": one.examples, "texts": one.texts, "tokens": one.tokens} for one in packed]
    source = {
        "name": "s", "task": "sts", "in_batch": False, "examples": 8, "negatives": 0, "instructions": {},
        "document_instructions": {}, "files": [{"path": "bundles/s.parquet", "bundles": len(sizes)}], "bundles": sizes,
        "validation_files": [], "validation": [],
    } | changes  # fmt: skip
    write_json(str(folder / "index.json"), {"sources": [source], "tokenizer": None})


def test_order_depends_on_the_seed_and_not_on_the_order_of_rows() -> None:
    rows = [pair(number) for number in range(50)]

    def order(given: Sequence[dict[str, Any]], seed: int) -> list[bytes]:
        examples: Examples = pack(given, seed=seed)[0]
        return examples.pair_ids.tolist()

    assert order(rows, 0) == order(rows[::-1], 0)
    assert order(rows, 0) != order(rows, 1)
    assert sorted(order(rows, 0)) == sorted(order(rows, 1))


def test_a_reference_to_a_document_that_is_not_there_is_named() -> None:
    gone = text_id("gone")
    with pytest.raises(ArtifactError, match=gone.hex()):
        pack([pair(0, positive_ids=[gone])])


def test_ids_that_end_in_zero_bytes_are_found() -> None:
    ids = [bytes(15 * [1] + [0]), bytes(15 * [1] + [1]), bytes(16), bytes(14 * [1] + [0, 0])]
    rows = [{"doc_id": i, "text": str(n), "source": "s"} for n, i in enumerate(ids)]
    documents = Documents.of(pa.Table.from_pylist(rows, schema=DOCUMENT))
    assert documents.texts(documents.rows(np.array(ids, dtype="S16"))) == ["0", "1", "2", "3"]


def test_no_rows_give_no_bundles() -> None:
    assert pack([])[1] == []
