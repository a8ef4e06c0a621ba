"""Protects language labels: one form of code, scripts from letters, identification where nothing is given."""

from collections import Counter

import pyarrow as pa
import pytest

from polyglossa.corpus.clean.ingest import ingest
from polyglossa.corpus.clean.language import canonical, identifier, is_known, same_language, scripts_of
from polyglossa.corpus.sources.candidates import candidate_table
from polyglossa.corpus.sources.source import Reading
from polyglossa.errors import DataError
from polyglossa.recipe.load import validate
from polyglossa.recipe.sections.corpus import CorpusConfig


@pytest.mark.parametrize(
    ("code", "expected"),
    [("de", ("deu", None)), ("zh-Hant-TW", ("zho", "Hant")), ("por_BR", ("por", None)), ("arb_Arab", ("arb", "Arab")),
     ("python", ("python", None)), ("deu", ("deu", None))],
)  # fmt: skip
def test_codes_are_brought_to_one_form(code: str, expected: tuple[str, str | None]) -> None:
    assert canonical(code) == expected


def test_macrolanguages_and_their_members_agree() -> None:
    assert same_language("arb", "ara")
    assert same_language("zho", "zho")
    assert not same_language("deu", "nld")


def test_scripts_are_read_from_letters() -> None:
    texts = [
        "Hello",
        "Привет",
        "你好",
        "こんにちは世界",
        "漢字とかな",
        "한국어 단어",
        "สวัสดี",
        "123 !?",
        "",
        None,
        "«Γειά»",
    ]
    expected = ["Latn", "Cyrl", "Hani", "Jpan", "Jpan", "Kore", "Thai", None, None, None, "Grek"]
    assert scripts_of(pa.array(texts)).to_pylist() == expected


def rows(queries: list[str], language: str | None) -> pa.Table:
    columns = {"query": queries, "positives": [["x"]] * len(queries), "query_language": [language] * len(queries)}
    return candidate_table(columns, task="retrieval", source="s")


def config(**languages: object) -> CorpusConfig:
    source = {"kind": "pairs", "name": "s", "files": ["f"], "task": "retrieval"}
    return validate(CorpusConfig, {"sources": [source], "languages": languages}, "test")


def test_a_missing_language_is_identified_with_its_confidence() -> None:
    chosen = config()
    queries = ["Wo ist der nächste Bahnhof, bitte?", "Где находится вокзал в этом городе?", "駅はどこですか。"]
    done = ingest(Reading(rows(queries, None), ()), "s", chosen.sources[0], chosen).rows.to_pylist()
    assert [row["query_language"] for row in done] == ["deu", "rus", "jpn"]
    assert [row["query_script"] for row in done] == ["Latn", "Cyrl", "Jpan"]
    assert all(0 < row["language_confidence"] <= 1 for row in done)
    assert [row["positive_language"] for row in done] == ["deu", "rus", "jpn"]


def test_given_languages_are_kept_and_disagreement_is_counted() -> None:
    chosen = config(checked_share=1.0)
    german = "Dieser Satz ist lang genug, um eindeutig als Deutsch erkannt zu werden."
    done = ingest(Reading(rows([german, german + " Ja."], "fr"), ()), "s", chosen.sources[0], chosen)
    assert [row["query_language"] for row in done.rows.to_pylist()] == ["fra", "fra"]
    assert done.checked == Counter(disagree=2)
    assert not ingest(Reading(rows([german], "xyz"), ()), "s", chosen.sources[0], chosen).checked


def test_the_identifier_knows_what_it_can_name_and_a_missing_model_is_told() -> None:
    assert is_known("arb", None)
    assert is_known("nob", None)
    assert not is_known("tok", None)
    with pytest.raises(DataError, match=r"corpus.languages.model: none.bin"):
        identifier("none.bin")
