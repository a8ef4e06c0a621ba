"""The index of a pack that a benchmark wrote itself: one source in one file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_index(folder: Path, name: str, sizes: Sequence[Mapping[str, int]], *, max_tokens: int) -> None:
    """Say what `bundles/<name>.parquet` holds, as the pack stage does.

    Args:
        folder: the pack's folder.
        name: of the source.
        sizes: `examples`, `texts` and `tokens` of each bundle.
        max_tokens: longest text.
    """
    source = {
        "name": name,
        "task": "retrieval",
        "in_batch": True,
        "examples": sum(size["examples"] for size in sizes),
        "negatives": 0,
        "instructions": {},
        "document_instructions": {},
        "files": [{"path": f"bundles/{name}.parquet", "bundles": len(sizes)}],
        "bundles": list(sizes),
        "validation_files": [],
        "validation": [],
    }
    (folder / "index.json").write_text(json.dumps({"sources": [source], "max_tokens": max_tokens, "tokenizer": None}))
