"""Draw questions for a running endpoint: real texts that no model was trained on, and documents to search."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pafs

from polyglossa.artifact import Artifact, open_storage, read_table

_PER_SOURCE = 200
_DOCUMENTS = 240


@dataclass(frozen=True)
class Questions:
    """Queries, and the documents among which each has its answer."""

    queries: list[str]
    languages: list[str]
    """Language of each query."""
    documents: list[str]
    instruction: str | None
    origin: str
    """What the texts are, in words."""

    @classmethod
    def read(cls, corpus: Artifact) -> "Questions":
        """Read the corpus's first held-out set; where it has none, pairs of its validation split."""
        names = _folders(corpus.at("heldout"))
        return _heldout(corpus, names[0]) if names else _validation(corpus)


def _folders(uri: str) -> list[str]:
    filesystem, folder = open_storage(uri)
    found = filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
    return sorted(entry.base_name for entry in found if entry.type == pafs.FileType.Directory)


def _heldout(corpus: Artifact, name: str) -> Questions:
    """One script after another."""
    queries = pl.from_arrow(read_table(corpus.at("heldout", name, "queries.parquet")))
    documents = read_table(corpus.at("heldout", name, "corpus.parquet"))["text"].to_pylist()
    assert isinstance(queries, pl.DataFrame)
    spread = (
        queries.filter(~pl.col("same_as_english").fill_null(False))
        .with_columns(turn=pl.int_range(pl.len()).over("script"))
        .sort("turn", "script", "query_id")
    )
    instruction = corpus.read_json("heldout", name, "task.json")["instruction"]
    return Questions(spread["query"].to_list(), spread["language"].to_list(), documents, instruction, "held-out texts")


def _validation(corpus: Artifact) -> Questions:
    """One language after another, each query with its first positive; a small corpus may have train rows alone."""
    rows = list(_rows(corpus, pc.field("split") == "validation")) or list(_rows(corpus, pc.scalar(True)))
    pairs = (
        pl.DataFrame(rows)
        .unique("positive", keep="first", maintain_order=True)
        .with_columns(turn=pl.int_range(pl.len()).over("language"))
        .sort("turn", "language", "query")
        .head(_DOCUMENTS)
    )
    text = _texts(corpus, pairs["positive"].to_list())
    told = [
        (query, language, text[key]) for query, language, key in pairs.select("query", "language", "positive").rows()
    ]
    told = [row for row in told if row[0] != row[2]]
    split = "validation" if rows[0]["split"] == "validation" else "training"
    queries, languages, documents = (list(column) for column in zip(*told, strict=True))
    return Questions(queries, languages, documents, None, f"documents of {split} pairs")


def _rows(corpus: Artifact, wanted: pc.Expression) -> Iterator[dict[str, object]]:
    for source in _folders(corpus.at("pairs")):
        filesystem, folder = open_storage(corpus.at("pairs", source))
        columns = {
            "query": pc.field("query"),
            "language": pc.coalesce(pc.field("language"), pc.scalar("und")),
            "positive": pc.list_element(pc.field("positive_ids"), 0),
            "split": pc.field("split"),
        }
        found = ds.dataset(folder, filesystem=filesystem, format="parquet").scanner(columns=columns, filter=wanted)
        yield from found.head(_PER_SOURCE).to_pylist()


def _texts(corpus: Artifact, ids: list[bytes]) -> dict[bytes, str]:
    filesystem, folder = open_storage(corpus.at("documents"))
    documents = ds.dataset(folder, filesystem=filesystem, format="parquet")
    found = documents.to_table(columns=["doc_id", "text"], filter=pc.field("doc_id").isin(ids))
    return dict(zip(found["doc_id"].to_pylist(), found["text"].to_pylist(), strict=True))
