"""The stage as a whole: rows reconcile, nothing is embedded twice, bad rows cost themselves, and a rerun is identical.

Protects promise 6 of the design, and the contract of the mined table.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pytest

from polyglossa.artifact import Artifact, ArtifactKey, produce
from polyglossa.errors import DataError
from polyglossa.mine import run as stage
from polyglossa.model.encoder import Encoder
from polyglossa.model.instructions import render
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.mine import MineConfig
from polyglossa.records import MINED_PAIR, text_id
from polyglossa.vectors import VectorStore

pytestmark = pytest.mark.usefixtures("ray_local")


def mine(root: Path, corpus: Artifact, config: MineConfig, name: str = "mine") -> Artifact:
    key = ArtifactKey("mine", name, 1, config.model_dump(mode="json"), {"corpus": corpus})
    placement = StagePlacement(workers=1)
    return produce(str(root), key, lambda draft: stage.run(config, {"corpus": corpus}, draft, placement))


def pairs_of(artifact: Artifact) -> list[dict]:
    return pads.dataset(artifact.at("pairs"), format="parquet", schema=MINED_PAIR).to_table().to_pylist()


def rejects_of(artifact: Artifact) -> list[dict]:
    rows = pads.dataset(artifact.at("rejects"), format="parquet").to_table().to_pylist()
    return [row | {"row": json.loads(row["row"])} for row in rows]


def brute_force(rows: list[dict], texts: dict[bytes, str], encoder: Encoder, source: str, keep: int) -> dict[str, list]:
    """Mine a source by the rules, one query after the other, in float64."""
    own = [row for row in rows if row["source"] == source]
    pool = sorted({positive for row in own for positive in row["positive_ids"]})
    documents = encoder.encode([texts[document] for document in pool]).astype(np.float64)
    expected = {}
    for row in own:
        vector = encoder.encode([render(row["query"], row["instruction"])])[0].astype(np.float64)
        scores = dict(zip(pool, documents @ vector, strict=True))
        bar = min(scores[positive] for positive in row["positive_ids"])
        bar -= 0.01 * abs(bar)
        group = {positive for other in own if other["group"] == row["group"] for positive in other["positive_ids"]}
        ranked = sorted((document for document in pool if document not in group), key=lambda it: (-scores[it], it))
        expected[row["query"]] = [document for document in ranked if scores[document] <= bar][:keep]
    return expected


def test_chosen_negatives_are_those_of_brute_force(tmp_path, tiny_corpus, tiny_model):
    model = tiny_model()
    config = MineConfig(model=model, top_k=70, negatives=5, near_copy=None, relative_margin=0.99)
    artifact = mine(tmp_path, tiny_corpus.write(tmp_path), config)
    rows = pairs_of(artifact)
    texts = {key: row["text"] for key, row in tiny_corpus.documents.items()}
    expected = brute_force(rows, texts, Encoder.load(model), "faq", 5)
    assert {row["query"]: row["negative_ids"] for row in rows if row["source"] == "faq"} == expected
    for row in rows:
        if row["source"] == "faq":
            assert len(row["negative_scores"]) == len(row["negative_ids"])
            assert sorted(row["negative_scores"], reverse=True) == row["negative_scores"]
            assert all(score <= row["positive_score"] for score in row["negative_scores"])


def test_rows_reconcile_held_out_rows_stay_out_and_given_negatives_stay(tmp_path, tiny_corpus, tiny_model):
    artifact = mine(tmp_path, tiny_corpus.write(tmp_path), MineConfig(model=tiny_model(), top_k=30, negatives=3))
    rows = pairs_of(artifact)
    assert artifact.counts["rows_in"] == 110
    assert artifact.counts["rows_out"] + sum(artifact.counts["rejects"].values()) == 110
    assert all(row["split"] == "train" for row in rows)
    given = [row for row in rows if row["source"] == "kind"]
    assert len(given) == 10
    assert all(len(row["negative_ids"]) == 1 and row["negative_scores"] is None for row in given)
    assert text_id("a held-out passage") not in {negative for row in rows for negative in row["negative_ids"]}


def test_a_second_run_embeds_nothing_and_writes_the_same_rows(tmp_path, tiny_corpus, tiny_model):
    corpus, config = tiny_corpus.write(tmp_path), MineConfig(model=tiny_model(), top_k=30, negatives=3)
    first, second = mine(tmp_path, corpus, config, "first"), mine(tmp_path, corpus, config, "second")
    assert first.counts["texts_embedded"] == first.counts["texts"] > 0
    assert second.counts["texts_embedded"] == 0
    assert pairs_of(first) == pairs_of(second)
    assert not (tmp_path / "progress" / "mine").joinpath(Path(second.uri).name).exists()


def test_language_pools_hold_one_language_and_caps_hold(tmp_path, tiny_corpus, tiny_model):
    config = MineConfig(
        model=tiny_model(),
        sources=("names",),
        pool="language",
        max_queries=20,
        max_candidates=10,
        top_k=10,
        negatives=4,
    )
    rows = [row for row in pairs_of(mine(tmp_path, tiny_corpus.write(tmp_path), config)) if row["source"] == "names"]
    mined = [row for row in rows if row["positive_score"] is not None]
    assert (len(rows), len(mined)) == (40, 20)
    assert all(row["negative_ids"] is None for row in rows if row["positive_score"] is None)
    language = {key: document["language"] for key, document in tiny_corpus.documents.items()}
    for row in mined:
        assert {language[negative] for negative in row["negative_ids"]} <= {language[row["positive_ids"][0]]}
    assert len({negative for row in mined for negative in row["negative_ids"]}) <= 20


def test_short_rows_are_dropped_with_a_reason_or_filled(tmp_path, tiny_corpus, tiny_model):
    corpus = tiny_corpus.write(tmp_path)
    base = {"model": tiny_model(), "sources": ("faq",), "top_k": 30, "negatives": 10, "relative_margin": 1.0}
    kept = [row for row in pairs_of(mine(tmp_path, corpus, MineConfig(**base))) if row["source"] == "faq"]
    short = {row["query"] for row in kept if len(row["negative_ids"]) < 10}
    assert 0 < len(short) < 60
    dropped = mine(tmp_path, corpus, MineConfig(**base, short="drop"))
    assert dropped.counts["rejects"] == {"too_few_negatives": len(short)}
    assert {row["row"]["query"] for row in rejects_of(dropped)} == short
    artifact = mine(tmp_path, corpus, MineConfig(**base, short="fill"))
    filled = [row for row in pairs_of(artifact) if row["source"] == "faq"]
    audited = artifact.read_json("audit.json")["sources"]["faq"]
    assert audited["short_share"] == pytest.approx(len(short) / len(kept), abs=1e-6)
    assert audited["filled"] == sum(10 - len(row["negative_ids"]) for row in kept)
    assert all(len(set(row["negative_ids"])) == 10 for row in filled)
    assert all(set(row["negative_ids"]).isdisjoint(row["positive_ids"]) for row in filled)


def test_bad_rows_cost_themselves_and_say_why(tmp_path, tiny_corpus, tiny_model):
    tiny_corpus.pair("faq", "   ", ["passage of an empty query"])
    tiny_corpus.pair("faq", "query of an empty passage", [" "])
    tiny_corpus.pair("lonely", "nobody else is here", ["the only passage"])
    artifact = mine(tmp_path, tiny_corpus.write(tmp_path), MineConfig(model=tiny_model(), top_k=30, negatives=3))
    reasons = {row["row"].get("query", row["row"].get("text")): row["reason"] for row in rejects_of(artifact)}
    assert reasons == {
        "   ": "empty_query",
        "query of an empty passage": "empty_positive",
        "nobody else is here": "no_candidates",
        " ": "empty_document",
    }
    assert artifact.counts["rejects"] == {"empty_positive": 1, "empty_query": 1, "no_candidates": 1}


def test_a_vector_that_is_not_finite_costs_its_rows_and_says_why(tmp_path, tiny_corpus, tiny_model):
    model = tiny_model(seed=1)
    poisoned = next(iter(tiny_corpus.pairs["faq"]))
    poison_embedding_of(model, poisoned["query"])
    artifact = mine(
        tmp_path, tiny_corpus.write(tmp_path), MineConfig(model=model, prompts="none", top_k=30, negatives=3)
    )
    reasons = {row["reason"] for row in rejects_of(artifact)}
    assert reasons <= {"query_vector_not_finite", "positive_vector_not_finite", "document_vector_not_finite"}
    assert artifact.counts["rejects"]["query_vector_not_finite"] > 0
    assert artifact.counts["texts_refused"] > 0
    scores = [score for row in pairs_of(artifact) for score in row["negative_scores"] or []]
    assert np.isfinite(scores).all()


def poison_embedding_of(model: str, text: str) -> None:
    """Make the model's table NaN in the row of a text's last word."""
    import torch
    from safetensors.torch import load_file, save_file

    encoder = Encoder.load(model)
    token = encoder.tokenize([text])[0][-2]
    weights = load_file(f"{model}/model.safetensors")
    weights["embed_tokens.weight"][token] = torch.nan
    save_file(weights, f"{model}/model.safetensors", metadata={"format": "pt"})


def test_a_model_that_changes_under_its_fingerprint_is_one_clear_error(tmp_path, tiny_corpus, tiny_model):
    model = tiny_model()
    VectorStore(str(tmp_path), Encoder.load(model).fingerprint).append([text_id("x")], np.ones((1, 4), np.float32))
    with pytest.raises(Exception, match="width 32, and this fingerprint stores width 4"):
        mine(tmp_path, tiny_corpus.write(tmp_path), MineConfig(model=model, top_k=30, negatives=3))


def test_an_unknown_source_is_one_clear_error(tmp_path, tiny_corpus, tiny_model):
    config = MineConfig(model=tiny_model(), sources=("fax",))
    with pytest.raises(DataError, match=r"mine\.sources: \['fax'\] not in the corpus; it has faq, kind, names"):
        mine(tmp_path, tiny_corpus.write(tmp_path), config)


def test_prompts_are_part_of_what_is_embedded(tmp_path, tiny_corpus, tiny_model):
    model = tiny_model()
    corpus = tiny_corpus.write(tmp_path)
    base = {"model": model, "sources": ("faq",), "top_k": 30, "negatives": 3}
    for settings, query, document in (
        ({"prompts": "model"}, "query: ", "passage: "),
        ({"prompts": "none"}, "", ""),
        ({"query_prompt": "Q: ", "document_prompt": "D: "}, "Q: ", "D: "),
    ):
        mine(tmp_path, corpus, MineConfig(**base, **settings))
        store = VectorStore(str(tmp_path), Encoder.load(model).fingerprint)
        row = tiny_corpus.pairs["faq"][0]
        passage = tiny_corpus.documents[row["positive_ids"][0]]["text"]
        assert store.holds([text_id(query + row["query"]), text_id(document + passage)]).all()


def test_the_audit_holds_what_was_mined(tmp_path, tiny_corpus, tiny_model):
    config = MineConfig(model=tiny_model(), top_k=30, negatives=3, relative_margin=1.0)
    artifact = mine(tmp_path, tiny_corpus.write(tmp_path), config)
    audit = artifact.read_json("audit.json")
    faq = audit["sources"]["faq"]
    rows = [row for row in pairs_of(artifact) if row["source"] == "faq"]
    assert faq["rows_mined"] == len(rows) == 60
    assert sum(faq["positive_histogram"]) == 60
    assert sum(faq["negative_histogram"]) == faq["negatives"] == sum(len(row["negative_ids"]) for row in rows)
    assert faq["rejects"]["same_group"] > 0
    assert 0 <= faq["false_negatives"]["share"] <= 1
    assert len(faq["suspicious"]) == 10
    assert set(audit["sources"]) == {"faq", "names"}


def test_mined_pairs_keep_every_column_of_the_pairs(tmp_path, tiny_corpus, tiny_model):
    artifact = mine(tmp_path, tiny_corpus.write(tmp_path), MineConfig(model=tiny_model(), top_k=30, negatives=3))
    rows = {row["pair_id"]: row for row in pairs_of(artifact)}
    for pair in (pair for pairs in tiny_corpus.pairs.values() for pair in pairs if pair["split"] == "train"):
        for name in set(pair) - {"negative_ids"}:
            assert rows[pair["pair_id"]][name] == pair[name]
    assert pa.schema(MINED_PAIR).names == list(next(iter(rows.values())))
