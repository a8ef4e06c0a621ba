"""Mining holds what it mines with, and no other row: the negatives of before, whatever lies in how many files.

The golden hashes were made by the stage that read the whole corpus into its process.
"""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from mine.conftest import sentences
from polyglossa.artifact import Artifact, ArtifactKey, Draft, produce, read_json
from polyglossa.mine import run as stage
from polyglossa.mine.gathering import gather, parts
from polyglossa.mine.pools import Rows
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.mine import MineConfig
from polyglossa.records import DOCUMENT, MINED_PAIR, PAIR

pytestmark = pytest.mark.usefixtures("ray_local")

SETTINGS = {
    "source": {"top_k": 40, "negatives": 4, "relative_margin": 1.2, "max_queries": 25},
    "language": {"pool": "language", "top_k": 30, "negatives": 3, "max_candidates": 12, "sources": ["names", "faq"]},
    "all": {"pool": "all", "top_k": 40, "negatives": 5, "max_candidates": 60, "replace": True, "short": "drop"},
}
GOLDEN = {"source": "d00170293f177b1c", "language": "541f9eafe2538629", "all": "3c7507a8462ae14d"}


@pytest.fixture
def corpus(tiny_corpus, tmp_path: Path) -> Artifact:
    """Rows over many files; queries that two sources share; positives that are another source's documents."""
    passages = sentences(80, seed=1)
    for number, query in enumerate(sentences(60, seed=2)[:20]):
        tiny_corpus.pair("other", query, [passages[79 - number]], task="classification", group=f"o {number}")
    for number in range(15):
        tiny_corpus.pair("names", passages[number], [passages[number + 30]], to="fra", split="validation")
    tiny_corpus.pair("names", "no answer", [])

    def make(draft: Draft) -> None:
        documents = pa.Table.from_pylist(list(tiny_corpus.documents.values()), schema=DOCUMENT)
        for part in range(4):
            rows = documents.take(list(range(part, len(documents), 4)))
            pq.write_table(rows, draft.at("documents", f"part-{part:05}.parquet"))
        for source, pairs in tiny_corpus.pairs.items():
            table = pa.Table.from_pylist(pairs, schema=PAIR)
            for part, start in enumerate(range(0, len(table), 17)):
                pq.write_table(table.slice(start, 17), draft.at("pairs", source, f"part-{part:05}.parquet"))

    return produce(str(tmp_path), ArtifactKey("corpus", "corpus", 1, {}), make)


def mined(root: Path, corpus: Artifact, model: str, name: str) -> Artifact:
    config = MineConfig.model_validate({"model": model} | SETTINGS[name])
    key = ArtifactKey("mine", name, 1, {}, {"corpus": corpus})
    return produce(
        str(root), key, lambda draft: stage.run(config, {"corpus": corpus}, draft, StagePlacement(workers=1))
    )


def digest(artifact: Artifact) -> str:
    """Hash which rows there are, in order, with their negatives, and which were rejected for what."""
    rows = pads.dataset(artifact.at("pairs"), format="parquet", schema=MINED_PAIR).to_table().to_pylist()
    rejects = pads.dataset(artifact.at("rejects"), format="parquet").to_table().to_pylist()
    kept = [[row["source"], row["pair_id"].hex(), [one.hex() for one in row["negative_ids"] or ()]] for row in rows]
    lost = [[row["source"], row["reason"], row["row"]] for row in rejects]
    counts = {name: artifact.counts[name] for name in ("rows_in", "rows_out", "rejects", "mined", "documents_refused")}
    return hashlib.sha256(json.dumps([kept, lost, counts], sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize("read_bytes", [gather.READ_BYTES, 3000], ids=["one of each", "a piece a file"])
@pytest.mark.parametrize("name", SETTINGS)
def test_negatives_are_those_of_before(
    tmp_path, corpus, tiny_model, name: str, read_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "READ_BYTES", read_bytes)
    assert digest(mined(tmp_path, corpus, tiny_model(), name)) == GOLDEN[name]


def told(artifact: Artifact) -> list[object]:
    """All that a run says, whatever the order of its rejects."""
    rows = pads.dataset(artifact.at("pairs"), format="parquet").to_table().to_pylist()
    rejects = pads.dataset(artifact.at("rejects"), format="parquet").to_table().to_pylist()
    return [rows, sorted(map(str, rejects)), read_json(artifact.at("audit.json")), artifact.counts["rejects"]]


@pytest.mark.parametrize("name", SETTINGS)
def test_sources_that_are_mined_one_after_another_are_mined_as_all_at_once(
    tmp_path, tiny_corpus, corpus, tiny_model, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = mined(tmp_path, corpus, tiny_model(), name)
    monkeypatch.setattr(parts, "PART_ROWS", 1)
    sizes = []
    monkeypatch.setattr(stage, "Rows", _counting(sizes))
    one_by_one = mined(tmp_path / "parts", corpus, tiny_model(), name)
    assert told(one_by_one) == told(together)
    assert (len(sizes) > 1) == (name != "all"), "sources that share a pool are mined together"


def _counting(sizes: list[int]) -> type:
    """`Rows` that says how many it read."""

    class Counting(Rows):
        @classmethod
        def read(cls, pairs, documents):  # type: ignore[no-untyped-def]
            sizes.append(sum(map(len, pairs.values())))
            return Rows.read(pairs, documents)

    return Counting


def test_workers_gather_the_same(tmp_path, corpus, tiny_model, monkeypatch) -> None:
    monkeypatch.setattr(stage, "DRIVER_BYTES", 0)
    assert digest(mined(tmp_path, corpus, tiny_model(), "language")) == GOLDEN["language"]


def test_where_nothing_is_mined_every_row_passes_through(tmp_path, corpus, tiny_model) -> None:
    config = MineConfig(model=tiny_model(), sources=("kind",))
    key = ArtifactKey("mine", "nothing", 1, {}, {"corpus": corpus})
    made = produce(str(tmp_path), key, lambda draft: stage.run(config, {"corpus": corpus}, draft, StagePlacement()))
    assert made.counts["rows_in"] == made.counts["rows_out"] > 0
    assert made.counts["texts"] == made.counts["mined"] == 0
    rows = pads.dataset(made.at("pairs"), format="parquet", schema=MINED_PAIR).to_table()
    assert rows["positive_score"].null_count == len(rows)


def test_a_plan_counts_the_largest_part() -> None:
    assert parts.largest_share(1_000_000, {"one": 900_000, "other": 100_000}) == 0.9
    assert parts.largest_share(1_000_000, {"one": 100_000}) == 0.9, "what is not known may be one source"
    assert parts.largest_share(300_000, {"one": 100_000, "other": 200_000}) == 1.0, "small sources go together"
    ten = {str(number): 400_000 for number in range(10)}
    assert parts.largest_share(4_000_000, ten) == 0.1
