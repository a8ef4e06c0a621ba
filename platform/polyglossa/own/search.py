"""Search one's own documents with the model that a recipe promoted, or made last: what `polyglossa search` does.

Documents that evaluation embedded are read from the run's vector store; others are embedded once and kept there.
"""

import hashlib
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from polyglossa.errors import DataError
from polyglossa.own.vectors import Floats, StoredVectors
from polyglossa.runtime.console import track
from polyglossa.serving.documents import Found, nearest, write_documents

_TEXTS_AT_ONCE = 4096


def search_documents(question: str, model: str, folder: Path, root: str, count: int) -> list[Found]:
    """Find the documents nearest to a question.

    Args:
        question: what is asked.
        model: model directory.
        folder: what `init` wrote.
        root: storage root, whose vector store is read and added to.
        count: documents returned.

    Raises:
        DataError: the folder holds no documents, or the question is empty.
    """
    if not question.strip():
        raise DataError("search: the question is empty; ask in words.")
    documents, vectors = _documents(folder), _open(model, root)
    document_ND = vectors.documents(documents["text"].to_pylist())
    return nearest(documents, document_ND, vectors.queries([question])[0], count)


def write_index(models: Mapping[str, str], folder: Path, root: str) -> str:
    """Write what an endpoint needs to search the documents with each model.

    Args:
        models: member → model directory.
        folder: what `init` wrote.
        root: storage root, whose vector store is read and added to.

    Returns:
        The folder (see `polyglossa.serving.documents`).

    Raises:
        DataError: the folder holds no documents.
    """
    documents = _documents(folder)
    texts = documents["text"].to_pylist()
    vectors = {name: _embed_all(name, model, texts, root) for name, model in models.items()}
    # Named after the texts: vectors of others that lie there never meet these.
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
    uri = posixpath.join(root, "documents", digest)
    write_documents(uri, documents, vectors)
    return uri


def _embed_all(name: str, model: str, texts: Sequence[str], root: str) -> Floats:
    """Vectors of all documents; those that are stored are read."""
    vectors = _open(model, root)
    with track(f"{name}: documents", total=len(texts), unit="texts") as bar:
        parts = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            parts.append(vectors.documents(texts[start : start + _TEXTS_AT_ONCE]))
            bar.advance(len(parts[-1]))
    return np.concatenate(parts)


def _open(model: str, root: str) -> StoredVectors:
    return StoredVectors(model, root, device="cuda" if torch.cuda.is_available() else "cpu")


def _documents(folder: Path) -> pa.Table:
    """Columns `source` and `text` of every document, each text once."""
    found: dict[str, str] = {}
    for file in sorted((folder / "documents").glob("*.parquet")):
        for text in pq.read_table(file, columns=["text"])["text"].to_pylist():
            found.setdefault(text, file.stem)
    if not found:
        raise DataError(f"{folder}/documents: holds nothing to search; `polyglossa init` writes it.")
    return pa.table({"source": list(found.values()), "text": list(found)})
