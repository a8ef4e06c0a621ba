"""A small corpus artifact, written by hand: two sources, all three splits."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polyglossa.artifact import Artifact, ArtifactKey, Draft, produce
from polyglossa.records import DOCUMENT, PAIR, row_id, text_id

TRAIN = [("Alemania", "Germany"), ("Allemagne", "Germany"), ("Σουηδία", "Sweden"), ("スウェーデン", "Sweden")]
OTHER = [("VALIDATION-QUERY", "VALIDATION-DOCUMENT", "validation"), ("HELDOUT-QUERY", "HELDOUT-DOCUMENT", "heldout")]


def pair(query: str, positive: str, split: str, source: str) -> dict[str, object]:
    return {
        "pair_id": row_id(query, positive),
        "query": query,
        "positive_ids": [text_id(positive)],
        "instruction": "Find it." if source == "b" else None,
        "negative_ids": [text_id("Neverland")] if source == "b" else None,
        "task": "bitext",
        "split": split,
        "source": source,
    }


def write(draft: Draft) -> None:
    rows = {
        "a": [pair(*texts, "train", "a") for texts in TRAIN[:3]] + [pair(q, p, s, "a") for q, p, s in OTHER],
        "b": [pair(*TRAIN[3], "train", "b")],
    }
    for source, pairs in rows.items():
        pq.write_table(pa.Table.from_pylist(pairs, PAIR), draft.at("pairs", source, "part-0.parquet"))
    texts = ["Germany", "Sweden", "Neverland", "VALIDATION-DOCUMENT", "HELDOUT-DOCUMENT", "UNREFERENCED"]
    documents = [{"doc_id": text_id(text), "text": text, "source": "a"} for text in texts]
    pq.write_table(pa.Table.from_pylist(documents, DOCUMENT), draft.at("documents", "part-0.parquet"))
    draft.write_json({"a": {}, "b": {}}, "sources.json")


@pytest.fixture
def corpus(tmp_path: Path) -> Artifact:
    return produce(str(tmp_path), ArtifactKey("corpus", "corpus", 1, {}), write)
