"""Protects the embedded multilingual source: enough languages, real names, and no held-out name in training."""

from polyglossa.corpus.clean.text import fold
from polyglossa.corpus.sources import cldr
from polyglossa.corpus.sources.cldr import Name


def test_at_least_220_languages_have_at_least_200_names(names: list[Name]) -> None:
    counts = cldr.names_by_language(names)
    assert min(counts.values()) >= 200
    assert len({language.partition("_")[0] for language in counts}) >= 220


def test_each_language_has_one_locale(names: list[Name]) -> None:
    assert len({(name.language, name.concept) for name in names}) == len(names)
    assert {"zho", "zho_Hant", "uzb", "uzb_Cyrl", "srp", "srp_Latn"} <= {name.language for name in names}


def test_no_name_only_repeats_its_code(names: list[Name]) -> None:
    repeated = [
        name for name in names if fold(name.text).replace("-", "_") == name.concept.partition("/")[2].casefold()
    ]
    assert repeated == []


def test_names_inherited_from_another_language_are_left_out(names: list[Name]) -> None:
    assert "hin_Latn" not in {name.language for name in names}  # CLDR fills it with English


def test_a_tenth_of_the_concepts_is_held_out(names: list[Name], heldout: frozenset[str]) -> None:
    concepts = {name.concept for name in names}
    assert 0.09 <= len(heldout) / len(concepts) <= 0.101
    assert {concept.partition("/")[0] for concept in heldout} == {"territory", "language", "currency", "script"}


def test_no_heldout_name_of_any_language_is_a_training_name(names: list[Name], heldout: frozenset[str]) -> None:
    secret = {fold(name.text) for name in names if name.concept in heldout}
    seen = {fold(name.text) for name in names if name.concept not in heldout}
    assert secret.isdisjoint(seen)


def test_concepts_that_share_a_name_in_any_language_stay_together() -> None:
    names = [
        Name("language/a", "eng", "Latn", "One"),
        Name("script/a", "eng", "Latn", "Other"),
        Name("script/a", "deu", "Latn", "ONE"),
        Name("territory/b", "eng", "Latn", "Far"),
    ]
    assert cldr._components(names) == [["language/a", "script/a"], ["territory/b"]]


def test_the_choice_of_heldout_concepts_depends_on_the_seed_alone(names: list[Name], heldout: frozenset[str]) -> None:
    assert cldr.heldout_concepts(list(reversed(names)), 0.1, seed=0) == heldout
    assert cldr.heldout_concepts(names, 0.1, seed=1) != heldout


def test_every_name_meets_english_and_both_directions_occur(names: list[Name], heldout: frozenset[str]) -> None:
    some = [name for name in names if name.language in ("eng", "deu", "zul", "jpn")]
    table = cldr.translation_candidates(some, heldout, pairs_per_name=2, seed=0, source="cldr")
    directions = set(zip(table["query_language"].to_pylist(), table["positive_language"].to_pylist(), strict=True))
    assert {("deu", "eng"), ("eng", "deu"), ("zul", "jpn"), ("jpn", "zul")} <= directions
    english = {name.concept for name in some if name.language == "eng"}
    met = [
        {query, positive}
        for query, positive, concept in zip(
            table["query_language"].to_pylist(),
            table["positive_language"].to_pylist(),
            table["group"].to_pylist(),
            strict=True,
        )
        if concept in english
    ]
    for language in ("deu", "zul", "jpn"):
        shared = {name.concept for name in some if name.language == language} & english
        assert met.count({"eng", language}) == len(shared)


def test_names_of_two_kinds_have_no_kind(names: list[Name], heldout: frozenset[str]) -> None:
    table = cldr.kind_candidates(names, heldout, source="cldr_kind")
    rows = dict(zip(table["query"].to_pylist(), table["label"].to_pylist(), strict=True))
    assert rows["Germany"] == "territory"
    assert "Georgian" not in rows  # a language and a script
    assert table["negatives"][0].as_py() == [
        kind for kind in ("territory", "language", "currency", "script") if kind != table["label"][0].as_py()
    ]


def test_heldout_queries_ask_in_over_200_languages_for_heldout_english_names(
    names: list[Name], heldout: frozenset[str]
) -> None:
    queries, corpus = cldr.heldout_search(names, heldout)
    assert len({query["language"] for query in queries}) >= 200
    assert "eng" not in {query["language"] for query in queries}
    assert {text for query in queries for text in query["positives"]} <= set(corpus)
    same = [query for query in queries if query["same_as_english"]]
    assert 0 < len(same) < len(queries) / 2
    assert all(fold(query["query"]) in {fold(text) for text in query["positives"]} for query in same)
