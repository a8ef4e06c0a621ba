"""Reader of BEIR directories: `corpus.jsonl`, `queries.jsonl`, `qrels/<split>.tsv`.

Only the texts that the judgements of one part name are held in memory; parts are chosen by the hash of the query's id.
"""

import posixpath
from collections import defaultdict
from collections.abc import Iterator

import pyarrow as pa

from polyglossa.corpus.sources.candidates import candidate_table
from polyglossa.corpus.sources.source import CorpusSource, Reading, Shard, whole_parts
from polyglossa.corpus.sources.translations import draw
from polyglossa.errors import DataError
from polyglossa.readers.files import File, list_files, under
from polyglossa.readers.pieces import Piece
from polyglossa.readers.rows import Bad
from polyglossa.readers.tables import Columns, read_piece
from polyglossa.recipe.sections.sources import BeirSource

_QRELS = Columns({"query-id": "key", "corpus-id": "key", "score": "number"}, {})
_TEXTS = Columns({"_id": "key", "text": "text"}, {"title": "text"})


class Beir(CorpusSource[BeirSource]):
    """A BEIR directory."""

    def shards(self, index: int) -> list[Shard]:
        """Take parts by the hash of the query's id."""
        files = sorted(beir_files(self.entry, self.config.data).values())
        return whole_parts(index, [Piece(file) for file in files], sum(file.size for file in files))

    def read(self, shard: Shard) -> Iterator[Reading]:
        """Read the judgements of a part and the texts that they name."""
        yield Reading(*beir_candidates(self.entry, shard.part, shard.parts, self.config.data))


def beir_files(source: BeirSource, data: str) -> dict[str, File]:
    """Find the three files of a directory.

    Raises:
        DataError: one is missing.
    """
    folder = under(data, source.path).rstrip("/")
    wanted = {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": f"qrels/{source.split}.tsv"}
    found: dict[str, File] = {}
    for role, name in wanted.items():
        candidates = [posixpath.join(folder, name + suffix) for suffix in ("", ".gz", ".zst")]
        files = [file for uri in candidates for file in _list_or_nothing(uri)]
        if not files:
            raise DataError(f"corpus source {source.name!r}: {folder} has no {name}; a BEIR directory has one.")
        found[role] = files[0]
    return found


def _list_or_nothing(uri: str) -> list[File]:
    try:
        return list_files([uri])
    except DataError:
        return []


def beir_candidates(
    source: BeirSource, part: int, parts: int, data: str
) -> tuple[pa.Table, list[Bad], tuple[str, ...]]:
    """Candidates of one part of a directory: a query with all it answers; documents judged 0 or less are negatives.

    Returns:
        Candidates, bad rows, and notices: how many judgements name a document that is not there.
    """
    files = beir_files(source, data)
    bad: list[Bad] = []
    relevance: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for batch in read_piece(Piece(files["qrels"]), "tsv", _QRELS):
        bad += batch.bad if part == 0 else ()
        for query, document, score in zip(*(column.to_pylist() for column in batch.table.columns), strict=True):
            if draw(0, query or "") % parts != part:
                continue
            if query and document and score is not None:
                relevance[query][document] = score
            else:  # a judgement without a score would make its document a negative
                bad.append(Bad("empty", f"{query}\t{document}\t{score}"))
    queries = dict(_texts(files["queries"], set(relevance), bad if part == 0 else []))
    wanted = {document for documents in relevance.values() for document in documents}
    texts = dict(_texts(files["corpus"], wanted, bad if part == 0 else []))
    rows: list[tuple[str, list[str], list[str]]] = []
    for query, documents in sorted(relevance.items()):
        positives = [texts[name] for name, score in sorted(documents.items()) if score > 0 and name in texts]
        negatives = [texts[name] for name, score in sorted(documents.items()) if score <= 0 and name in texts]
        if query not in queries or not positives:
            bad.append(Bad("missing_document" if query in queries else "missing_query", query))
        else:
            rows.append((queries[query], positives, negatives))
    columns = {
        "query": [query for query, _, _ in rows],
        "positives": [positives for _, positives, _ in rows],
        "negatives": [negatives or None for _, _, negatives in rows],
    }
    lost = sum(name not in texts for documents in relevance.values() for name in documents)
    total = sum(map(len, relevance.values()))
    notice = f"{source.path}: {lost:,} of {total:,} judgements name a document that its corpus does not hold."
    return candidate_table(columns, task=source.task, source=source.name), bad, (notice,) if lost else ()


def _texts(file: File, wanted: set[str], bad: list[Bad]) -> Iterator[tuple[str, str]]:
    for batch in read_piece(Piece(file), "jsonl", _TEXTS):
        bad += batch.bad
        for name, text, title in zip(*(column.to_pylist() for column in batch.table.columns), strict=True):
            if name in wanted and (title or text):
                yield name, f"{title} {text or ''}".strip() if title else text


SOURCE = Beir
