"""The audit page holds what the audit says, needs nothing from elsewhere, and texts cannot break out of it."""

import re

import numpy as np

from polyglossa.mine.audit.figures import BINS, histogram
from polyglossa.mine.audit.page import page


def audit_of(query: str = "who?") -> dict:
    figures = {
        "rows_mined": 3,
        "rows_without_negatives": 1,
        "short_share": 0.5,
        "negatives": 4,
        "filled": 2,
        "positive_mean": 0.75,
        "negative_mean": 0.25,
        "positive_histogram": histogram(np.array([0.7, 0.8, 0.75], np.float32)),
        "negative_histogram": histogram(np.array([0.2, 0.3, 0.2, 0.3], np.float32)),
    }
    row = {"query": query, "positive": "him", "negative": "her", "positive_score": 0.7, "negative_score": 0.65}
    source = figures | {
        "rejects": {"relative_margin": 12},
        "false_negatives": {"share": 0.125},
        "suspicious": [row],
        "languages": {"jpn": figures | {"negative_mean": None}},
    }
    return {"bins": [-1 + 2 * i / BINS for i in range(BINS + 1)], "sources": {"faq": source}, "recall": {}}


def test_figures_are_on_the_page():
    html = page(audit_of())
    for expected in ("faq", "relative margin", "12.50%", "jpn", "50.0%", "who?", "exact search"):
        assert expected in html


def test_a_source_whose_rows_are_short_says_which_rule_and_what_to_do():
    audit = audit_of()
    assert "refused by <b>relative_margin</b>" in page(audit)
    audit["sources"]["faq"]["short_share"] = 0.1
    assert "refused by <b>" not in page(audit)


def test_a_language_shows_both_of_its_distributions():
    cell = re.search(r"jpn</td>.*?<svg.*?</svg>", page(audit_of()))
    assert cell
    heights = {side: re.findall(r"V([\d.]+)h", path) for side, path in re.findall(r'class="(\w+)" d="(.*?)"', cell[0])}
    assert {
        side: [place for place, height in enumerate(found) if height != "22.0"] for side, found in heights.items()
    } == {
        "positive": [int((1 + cosine) * BINS / 2) for cosine in (0.7, 0.75, 0.8)],
        "negative": [int((1 + cosine) * BINS / 2) for cosine in (0.2, 0.3)],
    }


def test_the_page_is_self_contained_and_has_a_dark_side():
    html = page(audit_of())
    assert not re.search(r"(src|href)=[\"\'](?!data:)", html)
    assert "fetch(" not in html
    assert "{{" not in html
    assert "prefers-color-scheme: dark" in html


def test_texts_are_escaped():
    assert "<b>x</b>" not in page(audit_of("<b>x</b>"))


def test_measured_recall_is_printed():
    assert "recall is lowest in faq: 0.9870" in page(audit_of() | {"recall": {"faq": 0.987, "names": 0.99}})


def test_an_audit_without_rows_is_a_page_too():
    assert "No row was mined" in page({"bins": [], "sources": {}, "recall": {}})
