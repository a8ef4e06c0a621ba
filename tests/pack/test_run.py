"""The pack stage on Ray: sources, splits and sizes reconcile, and the engine trains from what it wrote (promise 6)."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polyglossa.artifact import Artifact, ArtifactKey, Draft, produce
from polyglossa.data.stream import FeedSpec, local_batches, open_plan
from polyglossa.errors import DataError
from polyglossa.model.tokenizer import train_tokenizer
from polyglossa.pack import run as pack
from polyglossa.pack.layout import Sizes, plan_files
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.pack import PackConfig
from polyglossa.recipe.sections.train import StageConfig
from polyglossa.records import DOCUMENT, MINED_PAIR, PAIR, row_id, text_id

ROWS = {"names": ("bitext", 90), "docs": ("retrieval", 40), "kinds": ("classification", 30)}


def pairs_of(source: str, mined: bool) -> list[dict[str, Any]]:
    task, rows = ROWS[source]
    return [
        {
            "pair_id": row_id(source, str(row)),
            "query": f"{source} query {row}",
            "positive_ids": [text_id(f"{source} text {row}")],
            "task": task,
            "instruction": "Find it.",
            "group": f"{row // 2}",
            "negative_ids": [text_id(f"{source} text {(row + 3) % rows}")]
            if mined or task == "classification"
            else None,
            "split": "heldout" if row % 10 == 9 else "validation" if row % 10 == 8 else "train",
            "source": source,
        }
        for row in range(rows)
    ]


def write_pairs(draft: Draft, schema: pa.Schema, mined: bool) -> None:
    for source in ROWS:
        table = pa.Table.from_pylist(pairs_of(source, mined), schema=schema)
        pq.write_table(table, draft.at("pairs", source, "part-00000.parquet"))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    root = str(tmp_path_factory.mktemp("inputs"))

    def corpus(draft: Draft) -> None:
        write_pairs(draft, PAIR, mined=False)
        texts = [f"{source} text {row}" for source, (_, rows) in ROWS.items() for row in range(rows)]
        rows = [{"doc_id": text_id(text), "text": text, "source": "any"} for text in texts]
        pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENT), draft.at("documents", "part-00000.parquet"))
        described = {
            name: {"task": task, "rows": {"train": rows * 8 // 10, "validation": rows // 10, "heldout": rows // 10}}
            for name, (task, rows) in ROWS.items()
        }
        draft.write_json(described, "sources.json")

    def backbone(draft: Draft) -> None:
        tokenizer = train_tokenizer(["names query text docs kinds 0 1 2"], vocabulary=300, max_tokens=16)
        tokenizer.save_pretrained(draft.at("model", "x").removesuffix("/x"))

    def mine(draft: Draft) -> None:
        write_pairs(draft, MINED_PAIR, mined=True)

    made = {"corpus": corpus, "backbone": backbone, "mine": mine}
    return {role: produce(root, ArtifactKey(role, role, 1, {}), make) for role, make in made.items()}


def packed(root: Path, inputs: dict[str, Artifact], config: PackConfig, sizes: Sizes | None = None) -> Artifact:
    key = ArtifactKey("pack", "pack", pack.REVISION, config.model_dump(mode="json"))
    return produce(str(root), key, lambda draft: pack.run(config, inputs, draft, StagePlacement(), sizes))


def test_rows_of_every_split_reconcile(ray_local: None, tmp_path: Path, inputs: dict[str, Artifact]) -> None:
    made = packed(tmp_path, inputs, PackConfig(max_tokens=16, bundle_rows=16))
    index = made.read_json("index.json")
    assert [(s["name"], s["task"], s["in_batch"], s["examples"]) for s in index["sources"]] == [
        ("docs", "retrieval", True, 32),
        ("kinds", "classification", False, 24),
        ("names", "bitext", True, 72),
    ]
    for source in index["sources"]:
        for part, files in (("bundles", "files"), ("validation", "validation_files")):
            sizes, (file,) = source[part], source[files]
            written = pq.ParquetFile(made.at(file["path"]))
            assert written.num_row_groups == len(sizes) == file["bundles"]
            rows = written.read().to_pylist()
            assert [len(row["query"]) for row in rows] == [size["examples"] for size in sizes]
            assert [sum(map(len, row["tokens"])) for row in rows] == [size["tokens"] for size in sizes]
    counts = made.counts
    assert counts["pairs"] == counts["examples"] == sum(rows * 9 // 10 for _, rows in ROWS.values())
    assert counts["pairs_without_positive"] == 0


def test_the_engine_trains_from_a_pack_with_mined_negatives(
    ray_local: None, tmp_path: Path, inputs: dict[str, Artifact]
) -> None:
    stage = StageConfig(instructions=True, hard_negatives=True, negatives=1, global_batch=16, max_tokens=16)
    made = packed(tmp_path, inputs, PackConfig.of(stage))
    spec = FeedSpec.of_stage(stage, made.uri)
    assert {line.source: line.rows for line in open_plan(spec).coverage()} == {"docs": 32, "kinds": 24, "names": 72}
    for batch in local_batches(spec):
        assert len(batch.query_Q) == 16
        assert (batch.negatives_QN >= 0).all()


def test_packing_twice_gives_the_same_bytes(ray_local: None, tmp_path: Path, inputs: dict[str, Artifact]) -> None:
    config = PackConfig(max_tokens=16, sources=("docs", "names"))
    first, second = (packed(tmp_path / name, inputs, config) for name in "ab")
    written = [path for path in Path(first.uri).rglob("*") if path.is_file() and path.name != "manifest.json"]
    files = sorted(path.relative_to(first.uri) for path in written)
    assert len(files) == 6
    for file in files:
        assert (Path(first.uri) / file).read_bytes() == (Path(second.uri) / file).read_bytes()


def test_a_large_source_goes_on_in_further_files(ray_local: None, tmp_path: Path, inputs: dict[str, Artifact]) -> None:
    config = PackConfig(max_tokens=16, bundle_rows=8)
    made = packed(tmp_path, inputs, config, Sizes(file_pairs=20))
    (names,) = (source for source in made.read_json("index.json")["sources"] if source["name"] == "names")
    assert [file["path"] for file in names["files"]] == [
        "bundles/names.parquet",
        "bundles/names.00001.parquet",
        "bundles/names.00002.parquet",
        "bundles/names.00003.parquet",
    ]
    assert names["examples"] == 72
    rows = [row for file in names["files"] for row in pq.read_table(made.at(file["path"])).to_pylist()]
    assert [row["bundle"] for row in rows] == list(range(9))
    assert len({identity for row in rows for identity in row["pair_ids"]}) == 72


def test_an_unknown_source_is_named(tmp_path: Path, inputs: dict[str, Artifact]) -> None:
    with pytest.raises(DataError, match="'nowhere' is not in the corpus; it has docs, kinds, names"):
        plan_files(PackConfig(sources=("nowhere",)), inputs)


def test_a_source_is_capped_in_training_and_not_in_validation(
    ray_local: None, tmp_path: Path, inputs: dict[str, Artifact]
) -> None:
    whole, capped = (packed(tmp_path, inputs, PackConfig(max_examples=most)) for most in (None, 10))
    sources = {entry["name"]: entry for entry in capped.read_json("index.json")["sources"]}
    assert {name: entry["examples"] for name, entry in sources.items()} == dict.fromkeys(ROWS, 10)
    for entry in whole.read_json("index.json")["sources"]:
        assert sources[entry["name"]]["validation"] == entry["validation"]
