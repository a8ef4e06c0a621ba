"""Packing in pieces: the bytes of before, whatever the number of runs, buckets and groups; killed, it goes on (6).

The golden hashes were made by the stage that held all documents in one process.
"""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import LocalFileSystem, copy_files

from polyglossa.artifact import Artifact, ArtifactKey, Draft, open_storage, produce
from polyglossa.errors import ArtifactError
from polyglossa.model.tokenizer import train_tokenizer
from polyglossa.pack import bundling, steps
from polyglossa.pack import run as pack
from polyglossa.pack.layout import Sizes
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.pack import PackConfig
from polyglossa.records import DOCUMENT, PAIR, row_id, text_id
from s3 import loopback_s3

ROWS = {"tiny": 10, "large": 1500, "labels": 60}
WORDS = ["river", "mountain", "город", "川", "बादल", "house", "light", "stone", "سماء", "θάλασσα"]
HERE = Sizes(driver_bytes=10**9)
SMALL = Sizes(run_pairs=100, read_bytes=1, document_bytes=4096, driver_bytes=10**9)
CONFIGS = {
    "tokens": PackConfig(max_tokens=16, bundle_rows=16, hard_negatives=True, instructions=True, scores=True),
    "capped": PackConfig(max_tokens=16, bundle_rows=16, max_examples=333),
    "texts": PackConfig(bundle_rows=16, hard_negatives=True, instructions=True, texts=True),
}
GOLDEN = {"tokens": "2765f03f2e478f75", "capped": "157eba1047a00863", "texts": "d391b4cc170950c8"}


def text(number: int) -> str:
    drawn = np.random.default_rng(number)
    return " ".join(drawn.choice(WORDS, int(drawn.integers(1, 12)))) + f" {number}"


def pairs_of(source: str, rows: int) -> list[dict[str, Any]]:
    drawn = np.random.default_rng(len(source))
    return [
        {
            "pair_id": row_id(source, str(row)),
            "query": f"{source} {text(row % 997)}",
            "positive_ids": [text_id(text(number)) for number in drawn.integers(0, 2000, row % 4)],
            "task": "classification" if source == "labels" else "retrieval",
            "instruction": None if row % 5 == 0 else f"Find it ({row % 3}).",
            "document_instruction": "Match it." if row % 7 == 0 else None,
            "group": None if row % 2 else f"g{row // 6}",
            "score": row / rows if row % 3 == 0 else None,
            "negative_ids": [text_id(text(number)) for number in drawn.integers(0, 2000, row % 9)] or None,
            "split": "heldout" if row % 20 == 19 else "validation" if row % 10 == 8 else "train",
            "source": source,
        }
        for row in range(rows)
    ]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    root = str(tmp_path_factory.mktemp("inputs"))

    def corpus(draft: Draft) -> None:
        described: dict[str, Any] = {}
        for source, count in ROWS.items():
            table = pa.Table.from_pylist(pairs_of(source, count), schema=PAIR)
            for part, start in enumerate(range(0, count, 400)):
                pq.write_table(table.slice(start, 400), draft.at("pairs", source, f"part-{part:05}.parquet"))
            splits = table["split"].value_counts().to_pylist()
            described[source] = {
                "task": table["task"][0].as_py(),
                "rows": {entry["values"]: entry["counts"] for entry in splits},
            }
        documents = [{"doc_id": text_id(text(n)), "text": text(n), "source": "any"} for n in range(2000)]
        for part in range(3):
            table = pa.Table.from_pylist(documents[part::3], schema=DOCUMENT)
            pq.write_table(table, draft.at("documents", f"part-{part:05}.parquet"))
        draft.write_json(described, "sources.json")

    def backbone(draft: Draft) -> None:
        tokenizer = train_tokenizer(WORDS * 3, vocabulary=400, max_tokens=16)
        tokenizer.save_pretrained(draft.at("model", "x").removesuffix("/x"))

    made = {"corpus": corpus, "backbone": backbone}
    return {role: produce(root, ArtifactKey(role, role, 1, {}), make) for role, make in made.items()}


def packed(root: Path | str, inputs: dict[str, Artifact], name: str, sizes: Sizes | None = None) -> Artifact:
    config = CONFIGS[name]
    key = ArtifactKey("pack", "pack", pack.REVISION, config.model_dump(mode="json"))
    return produce(str(root), key, lambda draft: pack.run(config, inputs, draft, StagePlacement(), sizes))


def digest(artifact: Artifact) -> str:
    """Hash everything but the manifest, which holds times."""
    files = sorted(path for path in Path(artifact.uri).rglob("*") if path.is_file() and path.name != "manifest.json")
    content = hashlib.sha256()
    for path in files:
        content.update(str(path.relative_to(artifact.uri)).encode() + b"\0" + path.read_bytes())
    return content.hexdigest()[:16]


@pytest.mark.parametrize("sizes", [HERE, SMALL], ids=["one of each", "many runs and buckets"])
@pytest.mark.parametrize("name", CONFIGS)
def test_pieces_of_any_number_give_the_golden_bytes(
    tmp_path: Path, inputs: dict[str, Artifact], name: str, sizes: Sizes
) -> None:
    assert digest(packed(tmp_path, inputs, name, sizes)) == GOLDEN[name]
    assert not list(tmp_path.rglob("*.work"))


def test_workers_give_the_golden_bytes(ray_local: None, tmp_path: Path, inputs: dict[str, Artifact]) -> None:
    assert digest(packed(tmp_path, inputs, "tokens", replace(SMALL, run_pairs=500, driver_bytes=0))) == GOLDEN["tokens"]


def test_groups_of_a_few_bundles_change_no_token(
    tmp_path: Path, inputs: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundling, "GROUP_ROWS", 48)
    assert digest(packed(tmp_path, inputs, "tokens", SMALL)) == GOLDEN["tokens"]


def test_a_run_that_was_stopped_does_only_what_is_missing(
    tmp_path: Path, inputs: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def counted(name: str, fails_at: int | None) -> Any:
        task = getattr(steps, name)

        def run(*arguments: Any) -> Any:
            if fails_at is not None and done.count(name) == fails_at:
                raise KeyboardInterrupt
            done.append(name)
            return task(*arguments)

        return run

    with monkeypatch.context() as stopped:
        stopped.setattr(steps, "read", counted("read", None))
        stopped.setattr(steps, "answer", counted("answer", 2))
        with pytest.raises(KeyboardInterrupt):
            packed(tmp_path, inputs, "tokens", SMALL)
    assert done.count("answer") == 2
    reads = done.count("read")
    monkeypatch.setattr(steps, "read", counted("read", None))
    monkeypatch.setattr(steps, "answer", counted("answer", None))
    assert digest(packed(tmp_path, inputs, "tokens", SMALL)) == GOLDEN["tokens"]
    assert done.count("read") == reads
    stored = sum(file.stat().st_size for file in Path(inputs["corpus"].at("documents")).iterdir())
    assert done.count("answer") == -(-stored // SMALL.document_bytes)


def test_pieces_on_a_bucket_give_the_golden_bytes(tmp_path: Path, inputs: dict[str, Artifact]) -> None:
    with loopback_s3() as root:
        made = packed(root, inputs, "tokens", replace(HERE, run_pairs=500))
        filesystem, path = open_storage(made.uri)
        copy_files(path, str(tmp_path), source_filesystem=filesystem, destination_filesystem=LocalFileSystem())
        assert digest(Artifact(str(tmp_path), made.manifest)) == GOLDEN["tokens"]


def test_a_document_that_is_not_there_is_named(tmp_path: Path, inputs: dict[str, Artifact]) -> None:
    lost = produce(
        str(tmp_path),
        ArtifactKey("corpus", "lost", 1, {}),
        lambda draft: shutil.copytree(inputs["corpus"].uri, draft.uri, ignore=lost_part, dirs_exist_ok=True),
    )
    with pytest.raises(ArtifactError, match="references point to documents that the corpus does not hold"):
        packed(tmp_path, inputs | {"corpus": lost}, "tokens", HERE)


def lost_part(folder: str, names: list[str]) -> list[str]:
    return ["part-00002.parquet"] if folder.endswith("documents") else []
