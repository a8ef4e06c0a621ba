"""A small corpus with its packs of tokens and texts, and what makes a store and a student of them."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from model.family_models import WORDS
from polyglossa.artifact import Artifact, ArtifactKey, Draft, produce
from polyglossa.distill import run as distill
from polyglossa.pack import run as pack
from polyglossa.recipe.outside import OutsideTeacher
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.pack import PackConfig
from polyglossa.recipe.sections.teacher import TeacherConfig
from polyglossa.recipe.sections.train import StageConfig
from polyglossa.records import DOCUMENT, PAIR, row_id, text_id

ROWS = 48


def query_of(row: int) -> str:
    return f"{WORDS[row % 12]} {WORDS[(row // 12 + 5) % 12]}"


def document_of(row: int) -> str:
    return f"{WORDS[row % 12]} {WORDS[(row * 7 + 3) % 12]} {WORDS[(row // 4) % 12]} {row}"


def make_corpus(root: str) -> Artifact:
    """Commit two sources of queries and documents that share words; one has instructions."""

    def make(draft: Draft) -> None:
        texts = [document_of(row) for row in range(ROWS)]
        documents = [{"doc_id": text_id(text), "text": text, "source": "any"} for text in texts]
        pq.write_table(pa.Table.from_pylist(documents, schema=DOCUMENT), draft.at("documents", "part-00000.parquet"))
        for source in ("asked", "plain"):
            table = pa.Table.from_pylist([_pair(source, row) for row in range(ROWS)], schema=PAIR)
            pq.write_table(table, draft.at("pairs", source, "part-00000.parquet"))
        described = {
            name: {"task": "retrieval", "rows": {"train": ROWS - 4, "validation": 4}} for name in ("asked", "plain")
        }
        draft.write_json(described, "sources.json")

    return produce(root, ArtifactKey("corpus", "corpus", 1, {}), make)


def _pair(source: str, row: int) -> dict[str, Any]:
    return dict.fromkeys(PAIR.names) | {
        "pair_id": row_id(source, str(row)),
        "query": query_of(row),
        "positive_ids": [text_id(document_of(row))],
        "task": "retrieval",
        "instruction": "Find it." if source == "asked" else None,
        "group": str(row),
        "split": "validation" if row >= ROWS - 4 else "train",
        "language": "eng",
        "source": source,
    }


STAGE = StageConfig.model_validate(
    {
        "instructions": True,
        "global_batch": 16,
        "steps": 6,
        "max_tokens": 32,
        "chunk_tokens": 64,
        "learning_rate": 1e-3,
        "warmup_steps": 2,
        "dtype": "float32",
    }
)


def make_packs(root: str, corpus: Artifact, model: Artifact) -> tuple[Artifact, Artifact]:
    """Commit the stage's pack of tokens, and its pack of texts."""
    made = []
    for config, inputs in (
        (PackConfig.of(STAGE), {"corpus": corpus, "backbone": model}),
        (PackConfig.of_texts(STAGE), {"corpus": corpus}),
    ):
        key = ArtifactKey("pack", "pack", pack.REVISION, config.model_dump(mode="json"), inputs)

        def make(draft: Draft, config: PackConfig = config, inputs: Any = inputs) -> None:
            pack.run(config, inputs, draft, StagePlacement())

        made.append(produce(root, key, make))
    return made[0], made[1]


def make_store(root: str | Path, texts: Artifact, teacher: OutsideTeacher, **settings: Any) -> Artifact:
    """Run the stage for a teacher from outside."""
    values = {"dtype": "float32", "stored": "float32", **settings, "outside": teacher.model_dump()}
    config = TeacherConfig.model_validate(values)
    key = ArtifactKey("distill", "outside", distill.REVISION, config.model_dump(mode="json"), {"pack": texts})
    return produce(str(root), key, lambda draft: distill.run(config, {"pack": texts}, draft, StagePlacement(workers=1)))


def rows_of(artifact: Artifact, source: str) -> list[dict[str, Any]]:
    """Bundles of a source's training part."""
    return pq.read_table(artifact.at(f"bundles/{source}.parquet")).to_pylist()
