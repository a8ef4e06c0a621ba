"""A tiny corpus of three sources and a tiny model, both built here: what the mining tests run on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polyglossa.artifact import Artifact, ArtifactKey, Draft, produce
from polyglossa.model.directory import build_model, save_model_directory
from polyglossa.model.forward import TextModel
from polyglossa.model.tokenizer import train_tokenizer
from polyglossa.records import DOCUMENT, PAIR, row_id, text_id

WORDS = [
    "river",
    "stone",
    "paper",
    "cloud",
    "mirar",
    "lugha",
    "boken",
    "shigoto",
    "вода",
    "ночь",
    "猫",
    "本",
    "ቤት",
    "ሰው",
]


def sentences(count: int, seed: int, words: int = 6) -> list[str]:
    rng = np.random.default_rng(seed)
    return [f"{' '.join(rng.choice(WORDS, words))} {number}" for number in range(count)]


class TinyCorpus:
    """Rows of a corpus, gathered and then written as the corpus stage writes them."""

    def __init__(self) -> None:
        self.documents: dict[bytes, dict[str, Any]] = {}
        self.pairs: dict[str, list[dict[str, Any]]] = {}

    def document(self, text: str, source: str, language: str = "eng") -> bytes:
        row = {"doc_id": text_id(text), "text": text, "language": language, "script": "Latn", "source": source}
        self.documents.setdefault(row["doc_id"], row)
        return row["doc_id"]

    def pair(self, source: str, query: str, positives: list[str], *, to: str = "eng", **fields: Any) -> None:
        ids = [self.document(text, source, to) for text in positives]
        row = dict.fromkeys(PAIR.names) | {
            "pair_id": row_id(source, query, *positives),
            "query": query,
            "positive_ids": ids,
            "task": "retrieval",
            "split": "train",
            "language": "eng",
            "source": source,
        }
        self.pairs.setdefault(source, []).append(row | fields)

    def write(self, root: Path) -> Artifact:
        def make(draft: Draft) -> None:
            documents = pa.Table.from_pylist(list(self.documents.values()), schema=DOCUMENT)
            pq.write_table(documents, draft.at("documents", "part-00000.parquet"))
            for source, rows in self.pairs.items():
                table = pa.Table.from_pylist(rows, schema=PAIR)
                pq.write_table(table, draft.at("pairs", source, "part-00000.parquet"))

        return produce(str(root), ArtifactKey("corpus", "corpus", 1, {"rows": len(self.documents)}), make)


@pytest.fixture
def tiny_corpus() -> TinyCorpus:
    """Retrieval in groups of two passages, bitext in two languages, and classification that brings its negatives."""
    corpus = TinyCorpus()
    passages = sentences(80, seed=1)
    for number, query in enumerate(sentences(60, seed=2)):
        corpus.pair("faq", query, [passages[number]], group=f"topic {number // 2}", instruction="Find the passage.")
    for number, text in enumerate(sentences(40, seed=3, words=3)):
        language = "swh" if number % 2 else "deu"
        corpus.pair("names", f"name {text}", [text], to=language, task="bitext", group=f"concept {number % 20}")
    labels = [corpus.document(name, "kind") for name in ("colour", "animal")]
    for number, text in enumerate(sentences(10, seed=4)):
        given = [labels[1 - number % 2]]
        corpus.pair("kind", text, [("colour", "animal")[number % 2]], task="classification", negative_ids=given)
    corpus.pair("faq", "what is held out?", ["a held-out passage"], split="heldout")
    return corpus


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Path of a model directory (2 layers, width 32), by seed of its weights."""

    def make(seed: int = 0, max_tokens: int = 32) -> str:
        path = tmp_path_factory.mktemp("model")
        tokenizer = train_tokenizer(sentences(200, seed=9), vocabulary=400, max_tokens=max_tokens)
        backbone = build_model(
            hidden=32, mlp=64, layers=2, heads=2, kv_heads=1, head_dim=16, vocabulary=400, max_tokens=max_tokens,
            eos=tokenizer.eos_token_id, padding=tokenizer.pad_token_id, seed=seed,
        )  # fmt: skip
        prompts = {"query": "query: ", "document": "passage: "}
        save_model_directory(
            str(path),
            TextModel.of(backbone, prompts=prompts),
            tokenizer,
            max_tokens=max_tokens,
            matryoshka_widths=(8, 16, 32),
        )
        return str(path)

    return make
