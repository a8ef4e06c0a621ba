"""A small model artifact and a small corpus artifact with two held-out sets, made once for the tests of this area."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from polyglossa.artifact import Artifact, ArtifactKey, Draft, produce
from polyglossa.model.directory import build_model, save_model_directory
from polyglossa.model.forward import TextModel
from polyglossa.model.tokenizer import train_tokenizer

LANGUAGES = {"deu": "Latn", "fra": "Latn", "ell": "Grek", "uzb_Cyrl": "Cyrl", "zho": "Hans"}
INSTRUCTION = "Retrieve translations of the following text."


def names(count: int) -> list[str]:
    """Names that look like names, all different."""
    draw = random.Random(3)
    syllables = ["ka", "ro", "mi", "stan", "land", "né", "zü", "σα", "ди", "国", "-", " of "]
    found: list[str] = []
    while len(found) < count:
        name = "".join(draw.choices(syllables, k=draw.randint(2, 6))).strip().capitalize()
        if name and name not in found:
            found.append(name)
    return found


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("evaluate"))


@pytest.fixture(scope="session")
def model(store: str) -> Artifact:
    def make(draft: Draft) -> None:
        tokenizer = train_tokenizer(names(300) * 2, vocabulary=500, max_tokens=160)
        backbone = build_model(
            hidden=32, mlp=64, layers=2, heads=4, kv_heads=2, head_dim=8, vocabulary=500, max_tokens=160,
            eos=tokenizer.eos_token_id, padding=tokenizer.pad_token_id, seed=1,
        )  # fmt: skip
        # As drawn, layers add next to nothing to the EOS that every text ends with: all cosines lie within a hundredth
        # of each other, and a correlation with them tells the last bits of a processor.
        with torch.no_grad():
            for name, weight in backbone.named_parameters():
                if name.startswith("layers.") and weight.ndim == 2:
                    weight.mul_(8)
        model = TextModel.of(backbone, prompts={"query": "Instruct: Find it.\nQuery: ", "document": ""})
        save_model_directory(draft.uri + "/model", model, tokenizer, max_tokens=160, matryoshka_widths=[8, 16, 32])

    return produce(store, ArtifactKey("train", "tiny", 1, {}), make)


@pytest.fixture(scope="session")
def corpus(store: str) -> Artifact:
    return produce(store, ArtifactKey("corpus", "corpus", 1, {}), _make_corpus)


def _make_corpus(draft: Draft) -> None:
    english = names(40)
    documents = [{"doc_id": f"d{index:03}", "text": f" {name} "} for index, name in enumerate(english)]
    queries = []
    for language, script in LANGUAGES.items():
        for index, name in enumerate(english):
            same = index % 5 == 0
            queries.append(
                {
                    "query_id": f"{language}{index:03}",
                    "query": name if same else f"{name[::-1]} {language[:2]}",
                    "language": language,
                    "script": script,
                    "positive_doc_ids": [f"d{index:03}"],
                    "same_as_english": same,
                }
            )
    task = {"name": "cldr", "task_type": "bitext", "instruction": INSTRUCTION, "metric": "accuracy"}
    _write_set(draft, "cldr", queries, documents, task)
    found = [{**query, "language": "python"} for query in queries[:40]]
    for query in found:
        del query["same_as_english"], query["script"]
    _write_set(draft, "pydoc", found, documents, {**task, "name": "pydoc", "metric": "ndcg_at_10"})


def _write_set(draft: Draft, name: str, queries: list[dict], documents: list[dict], task: dict) -> None:
    folder = Path(draft.at("heldout", name, "task.json")).parent
    pq.write_table(pa.Table.from_pylist(queries), folder / "queries.parquet")
    pq.write_table(pa.Table.from_pylist(documents), folder / "corpus.parquet")
    draft.write_json(task, "heldout", name, "task.json")
