"""Near copies are told by their characters: in any script, short texts and long."""

import numpy as np
import pyarrow as pa

from polyglossa.mine.near import overlap, sketch


def jaccard(left: str, right: str) -> float:
    grams = [{text[i : i + 5] for i in range(max(len(text) - 4, 1))} for text in (left, right)]
    return len(grams[0] & grams[1]) / len(grams[0] | grams[1])


def estimate(left: str, right: str) -> float:
    sketches = sketch(pa.array([left, right]))
    return float(overlap(sketches[0], sketches[1]))


def test_case_and_white_space_do_not_count():
    assert estimate("The  Quick\nbrown fox", "the quick brown FOX ") == 1.0


def test_texts_that_share_nothing_overlap_by_nothing():
    assert estimate("コンゴ民主共和国の首都", "ዲሞክራሲያዊ ሪፐብሊክ") == 0.0


def test_texts_shorter_than_a_gram_are_compared_whole():
    assert estimate("日本", "日本") == 1.0
    assert estimate("日本", "日米") == 0.0


def test_an_empty_text_is_no_copy_of_another():
    assert estimate("", "something") == 0.0


def test_the_estimate_is_near_the_exact_overlap():
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghij"), 6)) for _ in range(400)]
    base = words[:200]
    texts = [" ".join(base[: 200 - cut] + words[200 : 200 + cut]) for cut in (0, 10, 20, 40, 80, 200)]
    sketches = sketch(pa.array(texts))
    for text, other in zip(texts, sketches, strict=True):
        assert abs(float(overlap(sketches[0], other)) - jaccard(texts[0], text)) < 0.15


def test_slices_of_an_array_are_sketched_like_the_whole():
    texts = pa.array([f"text number {number} of many" for number in range(20)])
    np.testing.assert_array_equal(sketch(texts.slice(7, 5)), sketch(texts)[7:12])
