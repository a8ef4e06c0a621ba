"""Protects near-duplicate detection: planted copies are found, unlike rows and rows alike in one text only stay."""

import random

import numpy as np
import pytest

from polyglossa.corpus.clean.near import (  # fmt: skip
    band_hashes,
    candidate_edges,
    least_estimate,
    not_first,
    signatures,
    similarity,
    sketches,
    verify_edges,
)
from polyglossa.recipe.sections.corpus import NearDuplicatesConfig

CONFIG = NearDuplicatesConfig()


def words(count: int, seed: int) -> list[str]:
    drawn = random.Random(seed)
    return ["".join(drawn.choices("abcdefghijklmnopqrstuvwxyz", k=drawn.randint(3, 9))) for _ in range(count)]


def shingles(text: str) -> set[str]:
    return {text[i : i + 5] for i in range(len(text) - 4)}


def jaccard(one: str, other: str) -> float:
    return len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))


def near_copy(text: str, target: float, seed: int) -> str:
    """Replace characters for as long as the similarity stays at or above the target."""
    drawn, copy = random.Random(seed), text
    while jaccard(text, copy) >= target:
        last, place = copy, drawn.randrange(len(text))
        copy = copy[:place] + drawn.choice("abcdefghijklmnopqrstuvwxyz") + copy[place + 1 :]
    return last


def dropped(queries: list[str], positives: list[str]) -> set[int]:
    one, other = signatures(queries, CONFIG), signatures(positives, CONFIG)
    bands = band_hashes(one, other, CONFIG)
    nodes = np.repeat(np.arange(len(queries), dtype=np.uint64), CONFIG.bands)
    edges = candidate_edges(bands.ravel(), nodes).astype(np.int64)
    true = edges[verify_edges(edges, sketches(one), sketches(other), least_estimate(CONFIG))]
    return set(not_first(true, len(queries)).tolist())


def test_planted_near_duplicates_are_found_and_unlike_rows_stay() -> None:
    texts = [" ".join(words(60, seed)) for seed in range(400)]
    questions = [" ".join(words(60, 1000 + seed)) for seed in range(400)]
    copies = [near_copy(text, 0.85, seed) for seed, text in enumerate(texts)]
    asked = [near_copy(text, 0.85, seed) for seed, text in enumerate(questions)]
    alike = [jaccard(a, b) for a, b in zip(texts + questions, copies + asked, strict=True)]
    assert min(alike) >= 0.85
    assert np.mean(alike) < 0.87
    lost = dropped(questions + asked, texts + copies)
    recall = len(lost & set(range(400, 800))) / 400
    assert recall >= 0.95, recall
    assert not lost & set(range(400))


def test_many_questions_of_one_passage_stay() -> None:
    questions = [" ".join(words(12, seed)) for seed in range(100)]
    assert dropped(questions, ["the same long passage about one thing"] * 100) == set()


def test_case_and_white_space_do_not_tell_rows_apart_and_one_of_a_cluster_stays() -> None:
    text = " ".join(words(40, 1))
    versions = [text, text.upper(), text.replace(" ", "  "), text + " end"]
    assert dropped(versions, ["p"] * 4) == {1, 2, 3}


@pytest.mark.parametrize("text", ["", "a", "日本", "abcd"])
def test_texts_shorter_than_a_shingle_have_a_signature(text: str) -> None:
    assert dropped([text, "something else"], ["p", "p"]) == set()
    assert dropped([text, text], ["p", "p"]) == {1}


def test_sketches_estimate_similarity() -> None:
    one, other = " ".join(words(200, 1)), near_copy(" ".join(words(200, 1)), 0.7, 2)
    values = signatures([one, other], NearDuplicatesConfig(permutations=512))
    estimate = similarity(sketches(values[:1]), sketches(values[1:]))[0]
    assert abs(estimate - jaccard(one, other)) < 0.08


def test_components_join_chains_across_edges_and_keep_the_first() -> None:
    assert not_first(np.array([[1, 3], [3, 5], [2, 4]]), 7).tolist() == [3, 4, 5]
    assert not_first(np.zeros((0, 2), np.int64), 3).tolist() == []
