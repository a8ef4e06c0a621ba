"""The endpoint is asked real questions: held-out ones, else pairs that training left aside, in many languages."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from polyglossa.artifact import Artifact
from polyglossa.records import DOCUMENT, PAIR, text_id
from polyglossa.serving.questions import Questions


def corpus(folder: Path, splits: dict[str, str]) -> Artifact:
    """Two pairs of a source and a language each, one of which is its own answer."""
    texts = [f"{side} {source} {row}" for source in splits for side in ("q", "d") for row in range(2)]
    documents = [{"doc_id": text_id(text), "text": text, "source": "s"} for text in texts]
    (folder / "documents").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(documents, DOCUMENT), folder / "documents/part-0.parquet")
    for source, split in splits.items():
        pairs = [
            {
                "pair_id": text_id(f"{source} {row}"),
                "query": f"q {source} {row}",
                "positive_ids": [text_id(f"{'q' if row else 'd'} {source} {row}")],
                "task": "retrieval",
                "split": split,
                "language": None if source == "unknown" else source,
                "source": source,
            }
            for row in range(2)
        ]
        (folder / "pairs" / source).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(pairs, PAIR), folder / "pairs" / source / "part-0.parquet")
    return Artifact(str(folder), {})


def test_without_held_out_sets_validation_pairs_of_every_language_ask_and_none_asks_for_itself(tmp_path: Path) -> None:
    asked = Questions.read(corpus(tmp_path, {"deu": "validation", "fra": "train", "unknown": "validation"}))
    assert asked.queries == ["q deu 0", "q unknown 0"]
    assert asked.documents == ["d deu 0", "d unknown 0"]
    assert asked.languages == ["deu", "und"]
    assert asked.origin == "documents of validation pairs"


def test_a_corpus_without_a_validation_split_asks_its_training_pairs_and_says_so(tmp_path: Path) -> None:
    asked = Questions.read(corpus(tmp_path, {"deu": "train"}))
    assert asked.queries == ["q deu 0"]
    assert asked.origin == "documents of training pairs"
