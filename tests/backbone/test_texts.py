"""What a tokenizer is trained on: a small corpus whole, of a larger one a sample that covers its languages."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polyglossa.artifact import Artifact, ArtifactKey, Draft, produce
from polyglossa.backbone.texts import sample_shares, training_texts
from polyglossa.records import DOCUMENT, PAIR, row_id, text_id

ROWS = {("big", "eng"): 2000, ("big", "deu"): 100, ("small", "swh"): 30}


def corpus_of(root: Path, parts: int) -> Artifact:
    pairs = [
        {
            "pair_id": row_id(source, language, str(number)),
            "query": f"{language} query {number}",
            "positive_ids": [text_id(f"{language} text {number}")],
            "task": "retrieval",
            "split": "train",
            "language": language,
            "source": source,
        }
        for (source, language), count in ROWS.items()
        for number in range(count)
    ]
    texts = [(row["source"], row["language"], row["query"].replace("query", "text")) for row in pairs]
    documents = [
        {"doc_id": text_id(text), "text": text, "language": language, "source": source}
        for source, language, text in texts
    ]

    def write(draft: Draft) -> None:
        for source in ("big", "small"):
            table = pa.Table.from_pylist([row for row in pairs if row["source"] == source], PAIR)
            for part in range(parts):
                rows = table.slice(
                    part * len(table) // parts, (part + 1) * len(table) // parts - part * len(table) // parts
                )
                pq.write_table(rows, draft.at("pairs", source, f"part-{part}.parquet"))
        pq.write_table(pa.Table.from_pylist(documents, DOCUMENT), draft.at("documents", "part-0.parquet"))
        draft.write_json({"big": {}, "small": {}}, "sources.json")

    return produce(str(root), ArtifactKey("corpus", f"corpus-{parts}", 1, {}), write)


def test_a_corpus_of_no_more_texts_is_taken_whole(tmp_path: Path) -> None:
    texts = list(training_texts(corpus_of(tmp_path, 1), 2 * 2130))
    assert len(texts) == len(set(texts)) == 2 * 2130


def test_a_sample_covers_every_language_and_depends_on_the_rows_alone(tmp_path: Path) -> None:
    texts = list(training_texts(corpus_of(tmp_path, 1), 600))
    found = Counter(tuple(text.split()[:2]) for text in texts)
    assert found["swh", "query"] == found["swh", "text"] == 30
    assert 70 <= found["deu", "query"] <= 100
    assert 80 <= found["eng", "query"] <= 250
    assert 550 <= len(texts) <= 650
    assert sorted(texts) == sorted(training_texts(corpus_of(tmp_path, 3), 600))


@pytest.mark.parametrize(("most", "expected"), [(100, [10, 45, 45]), (30, [10, 10, 10]), (1000, [10, 60, 900])])
def test_small_kinds_give_all_and_large_ones_as_many_as_each_other(most: int, expected: list[int]) -> None:
    counts = {("query", str(count), None): count for count in (10, 60, 900)}
    shares = sample_shares(counts, most)
    assert [round(shares[kind] * count) for kind, count in counts.items()] == expected
