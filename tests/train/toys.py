"""Toy inputs of a training stage: a committed model and a committed pack, small enough for a test."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from polyglossa.artifact import Artifact, ArtifactKey, Draft, open_storage, produce
from polyglossa.model.directory import build_model, save_model_directory
from polyglossa.model.forward import TextModel
from polyglossa.model.tokenizer import train_tokenizer
from polyglossa.objectives.matryoshka import widths
from polyglossa.recipe.sections.train import StageConfig
from polyglossa.records import TOKEN_BUNDLE, text_id

VOCABULARY = 300
WORDS = [f"{first}{second}" for first in "bcdfghklmnprst" for second in ("a", "e", "i", "o", "u", "an", "el", "or")]


@dataclass(frozen=True)
class Source:
    """A made-up source: query i and positive i share their words."""

    name: str
    task: str
    rows: int


SOURCES = (Source("alpha", "retrieval", 150), Source("beta", "bitext", 90), Source("gamma", "classification", 40))


def make_model(root: str, *, hidden: int = 32, layers: int = 2, seed: int = 0) -> Artifact:
    """Commit a model directory."""

    def make(draft: Draft) -> None:
        tokenizer = train_tokenizer(WORDS, vocabulary=VOCABULARY, max_tokens=32)
        backbone = build_model(
            hidden=hidden,
            mlp=48,
            layers=layers,
            heads=4,
            kv_heads=2,
            head_dim=8,
            vocabulary=VOCABULARY,
            max_tokens=32,
            eos=tokenizer.eos_token_id,
            padding=tokenizer.pad_token_id,
            seed=seed,
        )
        folder = draft.at("model", "config.json").removesuffix("/config.json")
        save_model_directory(folder, TextModel.of(backbone), tokenizer, max_tokens=32, matryoshka_widths=widths(hidden))

    return produce(root, ArtifactKey("backbone", "toy", 1, {"hidden": hidden, "layers": layers, "seed": seed}), make)


def make_corpus(root: str) -> Artifact:
    """Commit a corpus that holds a held-out set alone, `words`: words asked for by themselves, there and back."""

    def make(draft: Draft) -> None:
        queries = [
            {"query_id": word, "query": f"{word} {word[::-1]}", "language": "eng", "positive_doc_ids": [word]}
            for word in WORDS
        ]
        pq.write_table(pa.Table.from_pylist(queries), draft.at("heldout", "words", "queries.parquet"))
        documents = [{"doc_id": word, "text": word} for word in WORDS]
        pq.write_table(pa.Table.from_pylist(documents), draft.at("heldout", "words", "corpus.parquet"))
        task = {"name": "words", "task_type": "retrieval", "instruction": "Find it.", "metric": "accuracy"}
        draft.write_json(task, "heldout", "words", "task.json")

    return produce(root, ArtifactKey("corpus", "toy", 1, {}), make)


def make_pack(root: str, *, bundle_rows: int = 32, seed: int = 0) -> Artifact:
    """Commit a pack of the made-up sources."""

    def make(draft: Draft) -> None:
        rng = np.random.default_rng(seed)
        entries = [_write_source(draft, source, bundle_rows, rng) for source in SOURCES]
        draft.write_json(
            {"sources": entries, "max_tokens": 32, "tokenizer": "toy", "truncated_share": 0.0}, "index.json"
        )

    return produce(root, ArtifactKey("pack", "toy", 1, {"bundle_rows": bundle_rows, "seed": seed}), make)


def _write_source(draft: Draft, source: Source, bundle_rows: int, rng: Any) -> dict[str, Any]:
    path, sizes = f"bundles/{source.name}.parquet", []
    filesystem, place = open_storage(draft.at(path))
    with pq.ParquetWriter(place, TOKEN_BUNDLE, filesystem=filesystem) as writer:
        for number, start in enumerate(range(0, source.rows, bundle_rows)):
            row = _bundle(source, number, min(bundle_rows, source.rows - start), rng)
            writer.write_table(pa.Table.from_pylist([row], schema=TOKEN_BUNDLE))
            sizes.append(
                {"examples": len(row["query"]), "texts": len(row["tokens"]), "tokens": sum(map(len, row["tokens"]))}
            )
    return {
        "name": source.name,
        "task": source.task,
        "in_batch": source.task in ("retrieval", "bitext"),
        "examples": source.rows,
        "negatives": 3 * source.rows,
        "instructions": {},
        "document_instructions": {},
        "files": [{"path": path, "bundles": len(sizes)}],
        "bundles": sizes,
        "validation_files": [],
        "validation": [],
    }


def _bundle(source: Source, number: int, rows: int, rng: Any) -> dict[str, Any]:
    texts: list[list[int]] = []
    query, positive, negatives = [], [], []
    for _ in range(rows):
        words = rng.integers(2, VOCABULARY, 2 + int(rng.integers(0, 10))).tolist()
        query.append(len(texts))
        texts.append([*words, int(rng.integers(2, VOCABULARY)), 1])
        positive.append(len(texts))
        texts.append([int(rng.integers(2, VOCABULARY)), *words, 1])
        negatives.append(list(range(len(texts), len(texts) + 3)))
        texts += [[*rng.integers(2, VOCABULARY, 4).tolist(), 1] for _ in range(3)]
    return {
        "source": source.name,
        "task": source.task,
        "bundle": number,
        "tokens": texts,
        "text_ids": [text_id(" ".join(map(str, text))) for text in texts],
        "pair_ids": [text_id(f"{source.name} {number} {row}") for row in range(rows)],
        "query": query,
        "positive": positive,
        "negatives": negatives,
        "group": [number * 1000 + row for row in range(rows)],
        "positive_score": [float("nan")] * rows,
    }


def stage(**changes: Any) -> StageConfig:
    """A short stage with every kind of term."""
    values: dict[str, Any] = {
        "hard_negatives": True,
        "negatives": 2,
        "global_batch": 16,
        "steps": 6,
        "max_tokens": 32,
        "chunk_tokens": 64,
        "learning_rate": 1e-3,
        "warmup_steps": 2,
        "dtype": "float32",
        "objective": {"matryoshka": "published"},
    }
    return StageConfig.model_validate(values | changes)
