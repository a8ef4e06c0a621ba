"""On the settings that both have, the chosen negatives are those of sentence-transformers' `mine_hard_negatives`.

Real questions and passages in Japanese, Amharic and English. Where the two differ by design, a test says so:
our window counts K candidates besides the positives (theirs K + the most positives any query has, less those found), a
score *at* the ceiling is refused (theirs: above), and skipped ranks are counted before the score rules (theirs: after).
Theirs always puts the model's own prompts in front, so ours is told to.
"""

import os
from pathlib import Path

import numpy as np
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from polyglossa.artifact import ArtifactKey, produce
from polyglossa.embedding import actors
from polyglossa.mine import run as stage
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.mine import MineConfig
from polyglossa.records import MINED_PAIR, text_id

DATA = Path(os.environ.get("POLYGLOSSA_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
ROWS = 300

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no data at {DATA} (set POLYGLOSSA_DATA)")


@pytest.fixture(scope="module", params=["jaquad_jpn", "amqa_amh", "medquad_eng"])
def real_pairs(request) -> list[dict]:
    """Question → all its passages, from one file of real data."""
    table = pq.read_table(DATA / "retrieval" / f"{request.param}.parquet").slice(0, ROWS)
    passages: dict[str, list[str]] = {}
    for query, passage in zip(table["query"].to_pylist(), table["passage"].to_pylist(), strict=True):
        if passage not in passages.setdefault(query, []):
            passages[query].append(passage)
    return [{"query": query, "passages": found} for query, found in passages.items()]


def theirs(rows: list[dict], model: str, **settings) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Query → negative → score, and query → its lowest positive's score, by sentence-transformers."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    flat = [{"query": row["query"], "passage": passage} for row in rows for passage in row["passages"]]
    mined = mine_hard_negatives(
        Dataset.from_list(flat), SentenceTransformer(model, device="cpu"), sampling_strategy="top",
        output_format="triplet", output_scores=True, verbose=False, **settings,
    )  # fmt: skip
    found: dict[str, dict[str, float]] = {row["query"]: {} for row in rows}
    lowest: dict[str, float] = {}
    for row in mined:
        found[row["query"]][row["negative"]] = row["scores"][1]
        lowest[row["query"]] = min(row["scores"][0], lowest.get(row["query"], 1.0))
    return found, lowest


def ours(rows: list[dict], model: str, root: Path, corpus, **settings) -> dict[str, dict[str, float]]:
    """Query → negative → score, by the mining stage."""
    for row in rows:
        corpus.pair("real", row["query"], row["passages"])
    inputs = {"corpus": corpus.write(root)}
    config = MineConfig(model=model, prompts="model", near_copy=None, sources=("real",), **settings)
    key = ArtifactKey("mine", "mine", 1, config.model_dump(mode="json"), inputs)
    artifact = produce(str(root), key, lambda draft: stage.run(config, inputs, draft, StagePlacement()))
    texts = {text_id(passage): passage for row in rows for passage in row["passages"]}
    table = pads.dataset(artifact.at("pairs"), format="parquet", schema=MINED_PAIR).to_table().to_pylist()
    return {
        row["query"]: {
            texts[key]: score for key, score in zip(row["negative_ids"], row["negative_scores"], strict=True)
        }
        for row in table
        if row["source"] == "real"
    }


@needs_data
@pytest.mark.parametrize(
    ("their_settings", "our_settings", "their_bar"),
    [
        ({"relative_margin": 0.01}, {"relative_margin": 0.99}, lambda positive: positive - 0.01 * abs(positive)),
        (
            {"absolute_margin": 0.002, "max_score": 0.999},
            {"relative_margin": None, "absolute_margin": 0.002, "max_score": 0.999},
            lambda positive: positive - 0.002,
        ),
    ],
)
def test_chosen_negatives_equal_theirs(
    real_pairs, tiny_model, tiny_corpus, tmp_path, monkeypatch, their_settings, our_settings, their_bar
):
    monkeypatch.setattr(actors, "LITTLE_BYTES", 1 << 24)  # no actors for 300 texts
    model = tiny_model(3, max_tokens=256)  # texts that differ only beyond the limit would tie
    tiny_corpus.pairs.clear()
    tiny_corpus.documents.clear()
    expected, positive_score = theirs(real_pairs, model, range_max=ROWS, num_negatives=6, **their_settings)
    found = ours(real_pairs, model, tmp_path, tiny_corpus, top_k=ROWS, negatives=6, **our_settings)
    assert found.keys() == expected.keys()
    assert sum(map(len, expected.values())) > 0
    differing = [query for query in expected if list(expected[query]) != list(found[query])]
    assert len(differing) <= 0.01 * len(expected)
    for query in differing:  # each for a score that rounding can put on either side of a bar or of another score
        scores = found[query] | expected[query]
        apart = [scores[text] for text in found[query].keys() ^ expected[query].keys()]
        near_bar = any(abs(score - their_bar(positive_score.get(query, 9.0))) < 3e-6 for score in apart)
        assert near_bar or np.allclose(list(found[query].values()), list(expected[query].values()), atol=2e-6)
