"""The corpus stage: read every source on the cluster, judge all rows, write pairs, documents, rejects, held-out sets.

    run(recipe.corpus, {}, draft, profile.corpus)

Layout: `documents/`, `pairs/<source>/`, `rejects/`, `heldout/<set>/`, `heldout/documents.parquet`, `sources.json`.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from polyglossa.artifact import Artifact, Draft, open_storage
from polyglossa.corpus.admit import Admission, admit
from polyglossa.corpus.embedded import Embedded, HeldoutSet, read_embedded
from polyglossa.corpus.instructions import SYMMETRIC_TASKS
from polyglossa.errors import PolyglossaError
from polyglossa.progress import track
from polyglossa.recipe.corpus import CorpusConfig
from polyglossa.recipe.placement import StagePlacement

STAGE = "corpus"
REVISION = 1


def run(config: CorpusConfig, inputs: Mapping[str, Artifact], draft: Draft, placement: StagePlacement) -> None:
    """Make the corpus artifact.

    Args:
        config: the recipe's `corpus` section.
        inputs: none are needed.
        draft: where it is written.
        placement: CPUs of a reading task.
    """
    with track("corpus", total=len(config.sources) + 2, unit="steps") as bar:
        read = ray.remote(num_cpus=placement.cpus)(read_embedded)
        pending = [read.remote(source, config) for source in config.sources]
        sources: list[Embedded] = []
        for source, reference in zip(config.sources, pending, strict=True):
            sources.append(ray.get(reference))
            bar.advance(1)
            bar.note(f"read {source.name}")
        candidates = [table for source in sources for table in source.candidates]
        admission = admit(candidates, config)
        bar.advance(1)
        _write(admission, draft)
        for heldout in (heldout for source in sources for heldout in source.heldout):
            _write_heldout(heldout, config, draft)
        bar.advance(1)
    _account(candidates, admission, draft)


def _account(candidates: list[pa.Table], admission: Admission, draft: Draft) -> None:
    rows_in = sum(table.num_rows for table in candidates)
    rows_out = sum(table.num_rows for table in admission.pairs.values())
    rejects = admission.rejects.num_rows
    if rows_in != rows_out + rejects:
        raise PolyglossaError(f"corpus: {rows_in} rows in, but {rows_out} out and {rejects} rejected.")
    reasons = Counter(admission.rejects["reason"].to_pylist())
    documents = admission.documents.num_rows
    draft.count(rows_in=rows_in, rows_out=rows_out, rejects=dict(sorted(reasons.items())), documents=documents)
    draft.write_json({name: _describe(pairs) for name, pairs in admission.pairs.items()}, "sources.json")


def _describe(pairs: pa.Table) -> dict[str, Any]:
    tasks = sorted(pairs["task"].unique().to_pylist())
    return {
        "task": tasks[0] if tasks else None,
        "symmetric": bool(tasks) and tasks[0] in SYMMETRIC_TASKS,
        "rows": dict(sorted(Counter(pairs["split"].to_pylist()).items())),
        "languages": dict(sorted(Counter(pairs["language"].to_pylist()).items())),
    }


def _write(admission: Admission, draft: Draft) -> None:
    write_table(admission.documents, draft.at("documents", "part-00000.parquet"))
    write_table(admission.heldout_documents, draft.at("heldout", "documents.parquet"))
    write_table(admission.rejects, draft.at("rejects", "part-00000.parquet"))
    for source, pairs in admission.pairs.items():
        write_table(pairs, draft.at("pairs", source, "part-00000.parquet"))


def _write_heldout(heldout: HeldoutSet, config: CorpusConfig, draft: Draft) -> None:
    write_table(heldout.queries, draft.at("heldout", heldout.name, "queries.parquet"))
    write_table(heldout.corpus, draft.at("heldout", heldout.name, "corpus.parquet"))
    draft.write_json(heldout.task(config.instructions), "heldout", heldout.name, "task.json")


def write_table(table: pa.Table, uri: str) -> None:
    """Write one Parquet file (zstd); equal tables give equal bytes."""
    filesystem, path = open_storage(uri)
    pq.write_table(table, path, filesystem=filesystem, compression="zstd", row_group_size=65_536)
