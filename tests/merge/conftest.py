"""Small models that differ a little, and a packed validation set for them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from polyglossa.artifact import Artifact, ArtifactKey, Draft, produce
from polyglossa.model.directory import build_model, save_model_directory
from polyglossa.model.forward import TextModel
from polyglossa.model.tokenizer import train_tokenizer
from polyglossa.model.tokenizer_folder import tokenizer_fingerprint
from polyglossa.records import TOKEN_BUNDLE, text_id

WORDS = ["red", "green", "blue", "house", "tree", "river", "cloud", "stone", "bird", "fish", "moon", "sun"]
TOKENIZER = train_tokenizer(WORDS, vocabulary=300, max_tokens=16)


def write_model(folder: Path, change: int, layers: int = 2) -> str:
    """Write a model: one common start, plus a small change that differs from model to model."""
    backbone = build_model(
        hidden=32,
        mlp=48,
        layers=layers,
        heads=4,
        kv_heads=2,
        head_dim=8,
        vocabulary=len(TOKENIZER),
        max_tokens=16,
        eos=TOKENIZER.eos_token_id,
        padding=TOKENIZER.pad_token_id,
        seed=0,
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(change)
        for parameter in backbone.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    save_model_directory(
        str(folder),
        TextModel.of(backbone, prompts={"query": "Q: "}),
        TOKENIZER,
        max_tokens=16,
        matryoshka_widths=[16, 32],
    )
    return str(folder)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three model directories."""
    return [write_model(tmp_path_factory.mktemp("model"), change) for change in (1, 2, 3)]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Artifact]:
    """The same models as artifacts."""
    root = str(tmp_path_factory.mktemp("run"))

    def make(change: int) -> Artifact:
        key = ArtifactKey("train", f"m{change}", 1, {"change": change})

        def write(draft: Draft) -> None:
            write_model(Path(draft.at("model")), change)

        return produce(root, key, write)

    return [make(change) for change in (1, 2, 3)]


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Validation rows of one retrieval source: a word finds itself behind another word."""

    def make(draft: Draft) -> None:
        queries = TOKENIZER(WORDS).input_ids
        positives = TOKENIZER([f"the {word}" for word in WORDS]).input_ids
        tokens, n = queries + positives, len(WORDS)
        row = {
            "source": "words",
            "task": "retrieval",
            "bundle": 0,
            "tokens": tokens,
            "text_ids": [text_id(str(ids)) for ids in tokens],
            "pair_ids": [text_id(word) for word in WORDS],
            "query": list(range(n)),
            "positive": list(range(n, 2 * n)),
            "negatives": [[]] * n,
            "group": list(range(n)),
            "positive_score": [0.0] * n,
        }
        table = pa.Table.from_pylist([row], schema=TOKEN_BUNDLE)
        pq.write_table(table, draft.at("validation", "words.parquet"))
        source = {
            "name": "words", "task": "retrieval", "in_batch": True, "examples": 0, "negatives": 0,
            "instructions": {}, "document_instructions": {}, "bundles": [], "files": [],
            "validation": [{"examples": n, "texts": 2 * n, "tokens": sum(map(len, tokens))}],
            "validation_files": [{"path": "validation/words.parquet", "bundles": 1}],
        }  # fmt: skip
        draft.write_json({"sources": [source], "tokenizer": tokenizer_fingerprint(TOKENIZER)}, "index.json")

    return produce(str(tmp_path_factory.mktemp("run")), ArtifactKey("pack", "pack", 1, {}), make)
