"""On the settings that both have, the chosen negatives are those of sentence-transformers' `mine_hard_negatives`.

Real questions and passages in Japanese, Amharic and English. Where the two differ by design, a test says so:
our window counts K candidates besides the positives (theirs K + the most positives any query has, less those found), a
score *at* the ceiling is refused (theirs: above), and skipped ranks are counted before the score rules (theirs: after).
Theirs always puts the model's own prompts in front, so ours is told to.
"""

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from polyglossa.artifact import ArtifactKey, produce
from polyglossa.embedding import actors
from polyglossa.mine import run as stage
from polyglossa.model.encoder import Encoder
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.mine import MineConfig
from polyglossa.records import MINED_PAIR, text_id

DATA = Path(os.environ.get("POLYGLOSSA_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
ROWS = 300
NEGATIVES = 6
ROUNDING = 1e-6  # of a float32 score of unit vectors, on any processor

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


def theirs(rows: list[dict], model: str, **settings) -> dict[str, list[str]]:
    """Query → its negatives, by sentence-transformers."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    flat = [{"query": row["query"], "passage": passage} for row in rows for passage in row["passages"]]
    mined = mine_hard_negatives(
        Dataset.from_list(flat), SentenceTransformer(model, device="cpu"), sampling_strategy="top",
        output_format="triplet", verbose=False, **settings,
    )  # fmt: skip
    found: dict[str, dict[str, None]] = {row["query"]: {} for row in rows}  # once, though each positive has it
    for row in mined:
        found[row["query"]][row["negative"]] = None
    return {query: list(negatives) for query, negatives in found.items()}


def ours(rows: list[dict], model: str, root: Path, corpus, **settings) -> dict[str, list[str]]:
    """Query → its negatives, by the mining stage."""
    for row in rows:
        corpus.pair("real", row["query"], row["passages"])
    inputs = {"corpus": corpus.write(root)}
    config = MineConfig(model=model, prompts="model", near_copy=None, sources=("real",), **settings)
    key = ArtifactKey("mine", "mine", 1, config.model_dump(mode="json"), inputs)
    artifact = produce(str(root), key, lambda draft: stage.run(config, inputs, draft, StagePlacement()))
    texts = {text_id(passage): passage for row in rows for passage in row["passages"]}
    table = pads.dataset(artifact.at("pairs"), format="parquet", schema=MINED_PAIR).to_table().to_pylist()
    return {row["query"]: [texts[key] for key in row["negative_ids"]] for row in table if row["source"] == "real"}


def exact_scores(rows: list[dict], model: str) -> dict[str, dict[str, float]]:
    """Query → every passage → score, computed in float64."""
    encoder = Encoder.load(model, dtype="float64")
    passages = list(dict.fromkeys(passage for row in rows for passage in row["passages"]))
    queries = encoder.encode([row["query"] for row in rows], prompt="query")
    scores = queries.astype(np.float64) @ encoder.encode(passages, prompt="document").astype(np.float64).T
    return {row["query"]: dict(zip(passages, scores[at].tolist(), strict=True)) for at, row in enumerate(rows)}


def assert_best_below(choice: list[str], row: dict, scores: dict[str, float], bar: Callable[[float], float]) -> None:
    """Check a query's negatives against exact scores: the best below the bar, in order, as near as float32 can tell.

    Args:
        choice: the passages, best first.
        row: the query and its passages.
        scores: of every passage.
        bar: of a positive's score, what a negative has to stay below.
    """
    ceiling = bar(min(scores[passage] for passage in row["passages"]))
    chosen = [scores[passage] for passage in choice]
    assert not set(choice) & set(row["passages"])
    assert len(set(choice)) == len(choice) <= NEGATIVES
    assert all(score < ceiling + ROUNDING for score in chosen)
    assert all(second < first + ROUNDING for first, second in pairwise(chosen))
    left = [score for text, score in scores.items() if text not in choice and text not in row["passages"]]
    worst = chosen[-1] if len(choice) == NEGATIVES else -1.0
    assert all(score < worst + ROUNDING for score in left if score < ceiling - ROUNDING)


@needs_data
@pytest.mark.parametrize(
    ("their_settings", "our_settings", "bar"),
    [
        ({"relative_margin": 0.01}, {"relative_margin": 0.99}, lambda positive: positive - 0.01 * abs(positive)),
        (
            {"absolute_margin": 0.002, "max_score": 0.999},
            {"relative_margin": None, "absolute_margin": 0.002, "max_score": 0.999},
            lambda positive: min(positive - 0.002, 0.999),
        ),
    ],
)
def test_chosen_negatives_equal_theirs(
    real_pairs, tiny_model, tiny_corpus, tmp_path, monkeypatch, their_settings, our_settings, bar
):
    monkeypatch.setattr(actors, "LITTLE_BYTES", 1 << 24)  # no actors for 300 texts
    model = tiny_model(3, max_tokens=256)  # texts that differ only beyond the limit would tie
    tiny_corpus.pairs.clear()
    tiny_corpus.documents.clear()
    expected = theirs(real_pairs, model, range_max=ROWS, num_negatives=NEGATIVES, **their_settings)
    found = ours(real_pairs, model, tmp_path, tiny_corpus, top_k=ROWS, negatives=NEGATIVES, **our_settings)
    assert found.keys() == expected.keys()
    scores = exact_scores(real_pairs, model)
    assert sum(map(len, expected.values())) > 0
    for row in real_pairs:
        assert_best_below(found[row["query"]], row, scores[row["query"]], bar)
        assert_best_below(expected[row["query"]], row, scores[row["query"]], bar)
