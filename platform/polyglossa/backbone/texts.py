"""The texts a tokenizer is trained on: each distinct query and document of the corpus's training part, once.

Queries come behind their instruction, as the last training stage renders them, so its words become single tokens (an
instruction is two thirds of a short query). Held-out and validation texts are left out, also where the documents table
holds them.
"""

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from polyglossa.artifact import Artifact, open_storage
from polyglossa.model.instructions import render
from polyglossa.records import text_id

_LINKS = ("positive_ids", "negative_ids")


def training_texts(corpus: Artifact) -> Iterator[str]:
    """Yield every distinct text of the training part once: queries source by source, then documents.

    Args:
        corpus: artifact of stage `corpus`.
    """
    seen: set[bytes] = set()
    linked: set[bytes] = set()
    for batch in _training_pairs(corpus):
        for column in _LINKS:
            linked.update(pc.list_flatten(batch[column]).drop_null().to_pylist())
        queries = zip(batch["query"].to_pylist(), batch["instruction"].to_pylist(), strict=True)
        yield from _unseen((render(text, instruction) for text, instruction in queries), seen)
    for batch in _table(corpus, "documents").to_batches(columns=["doc_id", "text"]):
        wanted = pa.array([document in linked for document in batch["doc_id"].to_pylist()], pa.bool_())
        yield from _unseen(batch["text"].filter(wanted).to_pylist(), seen)


def _training_pairs(corpus: Artifact) -> Iterator[pa.RecordBatch]:
    for source in sorted(corpus.read_json("sources.json")):
        table = _table(corpus, "pairs", source)
        yield from table.to_batches(columns=["query", "instruction", *_LINKS], filter=ds.field("split") == "train")


def _table(corpus: Artifact, *parts: str) -> ds.Dataset:
    filesystem, path = open_storage(corpus.at(*parts))
    return ds.dataset(path, filesystem=filesystem, format="parquet")


def _unseen(texts: Iterable[str], seen: set[bytes]) -> Iterator[str]:
    for text in texts:
        key = text_id(text)
        if key not in seen:
            seen.add(key)
            yield text
