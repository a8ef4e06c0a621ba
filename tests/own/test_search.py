"""Protects `polyglossa search`: one's own documents, found by the model, each text once, vectors kept."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.family_models import CONFIGS, save_sentence_transformer, word_tokenizer
from polyglossa.errors import DataError
from polyglossa.own.search import search_documents, write_index
from polyglossa.own.vectors import StoredVectors
from polyglossa.serving.documents import Documents


def test_the_same_words_are_found_first_and_empty_questions_are_refused(tmp_path: Path) -> None:
    tokenizer = word_tokenizer(before="<s>", behind="</s>")
    model = save_sentence_transformer(tmp_path, CONFIGS["bert"](), tokenizer, pooling="mean")
    (tmp_path / "mine.own/documents").mkdir(parents=True)
    for name, texts in {
        "faq": ["house tree river", "cloud stone"],
        "manual": ["cloud stone", "bird fish moon"],
    }.items():
        pq.write_table(pa.table({"id": texts, "text": texts}), tmp_path / f"mine.own/documents/{name}.parquet")
    for _ in range(2):  # the second time from the vector store
        found = search_documents("bird fish moon", model, tmp_path / "mine.own", str(tmp_path / "run"), 5)
        assert found[0].text == "bird fish moon"
        assert (len(found), found[0].source, found[0].score) == (3, "manual", pytest.approx(1.0, abs=1e-5))
    with pytest.raises(DataError, match="the question is empty"):
        search_documents(" ", model, tmp_path / "mine.own", str(tmp_path / "run"), 5)
    with pytest.raises(DataError, match="holds nothing to search"):
        search_documents("bird", model, tmp_path, str(tmp_path / "run"), 5)


def test_an_endpoint_is_given_the_same_documents_as_the_command_searches(tmp_path: Path) -> None:
    tokenizer = word_tokenizer(before="<s>", behind="</s>")
    model = save_sentence_transformer(tmp_path, CONFIGS["bert"](), tokenizer, pooling="mean")
    (tmp_path / "mine.own/documents").mkdir(parents=True)
    texts = ["house tree river", "cloud stone", "bird fish moon"]
    pq.write_table(pa.table({"id": texts, "text": texts}), tmp_path / "mine.own/documents/faq.parquet")
    folder = write_index({"mine": model}, tmp_path / "mine.own", str(tmp_path / "run"))
    by_command = search_documents("cloud house", model, tmp_path / "mine.own", str(tmp_path / "run"), 3)
    documents = Documents(folder)
    assert len(documents) == 3
    query_D = StoredVectors(model, str(tmp_path / "run")).queries(["cloud house"])[0]
    found = documents.search("mine", query_D, 3)
    assert [(one.source, one.text) for one in found] == [(one.source, one.text) for one in by_command]
    assert [one.score for one in found] == pytest.approx([one.score for one in by_command], abs=1e-6)
