"""Candidates: what every reader hands on, one row per example, texts written out, before any rule has judged it.

A candidate that a rule drops becomes a reject; the others become a `Pair` and its `Document`s. Lists of languages and
scripts describe the texts beside them. `split` is set where the source itself holds rows out.
"""

import pyarrow as pa

CANDIDATE = pa.schema(
    [
        pa.field("query", pa.string()),
        pa.field("query_language", pa.string()),
        pa.field("query_script", pa.string()),
        pa.field("positives", pa.list_(pa.string())),
        pa.field("positive_language", pa.string()),
        pa.field("positive_script", pa.string()),
        pa.field("negatives", pa.list_(pa.string())),
        pa.field("task", pa.string(), nullable=False),
        pa.field("group", pa.string()),
        pa.field("label", pa.string()),
        pa.field("score", pa.float32()),
        pa.field("split", pa.string()),
        pa.field("source", pa.string(), nullable=False),
    ]
)


def candidate_table(columns: dict[str, list[object]], *, task: str, source: str) -> pa.Table:
    """Build a candidate table; columns that are left out are null."""
    rows = len(columns["query"])
    values = {"task": [task] * rows, "source": [source] * rows, **columns}
    return pa.table(
        {field.name: pa.array(values.get(field.name, [None] * rows), field.type) for field in CANDIDATE},
        schema=CANDIDATE,
    )
