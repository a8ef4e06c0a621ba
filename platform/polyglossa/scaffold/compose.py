"""Compose a first recipe from proposed sources: two stages, mining where rows bring no negatives, teacher and student.

The embedded corpus comes along: its held-out names judge the family from the first run on.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polyglossa.errors import UserError
from polyglossa.scaffold.propose import Proposal

_CHARACTERS_PER_TOKEN = {True: 1.6, False: 4.0}
"""Of scripts without spaces, and of others."""
_INSTRUCTION_TOKENS = 18
_SIZES: dict[str, dict[str, Any]] = {
    "small": {
        "backbone": {
            "shape": {"hidden": 256, "mlp": 512, "layers": 3, "heads": 4, "kv_heads": 2, "head_dim": 64},
            "tokenizer": {"vocabulary": 8192},
        },
        "student": {"hidden": 128, "mlp": 256, "layers": 2},
        "rate": 1e-3,
    },
    "base": {
        "backbone": {
            "shape": {"hidden": 384, "mlp": 1024, "layers": 6, "heads": 6, "kv_heads": 2, "head_dim": 64},
            "tokenizer": {"vocabulary": 32768},
        },
        "student": {"hidden": 192, "mlp": 512, "layers": 4},
        "rate": 5e-4,
    },
    "qwen3-0.6b": {
        "backbone": {
            "model": "Qwen/Qwen3-0.6B",
            "shape": {"hidden": 1024, "mlp": 3072, "layers": 28, "heads": 16, "kv_heads": 8},
            "tokenizer": {"vocabulary": 151936},
        },
        "student": {"hidden": 640, "mlp": 1536, "layers": 9},
        "rate": 1e-5,
    },
}
SIZES = tuple(_SIZES)


def compose(name: str, proposals: Sequence[Proposal], *, size: str = "small", epochs: float = 1.0) -> dict[str, Any]:
    """Compose a recipe's plain data.

    Args:
        name: of the run.
        proposals: sources.
        size: of the first member: `small` and `base` start new, `qwen3-0.6b` from the hub.
        epochs: passes over the data in either stage.

    Raises:
        UserError: the size is unknown.
    """
    if size not in _SIZES:
        raise UserError(f"--size {size}: not one of {', '.join(SIZES)}.")
    chosen = _SIZES[size]
    pairs = [proposal for proposal in proposals if proposal.task in ("retrieval", "bitext")]
    length = _longest(proposals)
    batch = 64 if size == "qwen3-0.6b" else 128
    stage = {"global_batch": batch, "epochs": epochs, "max_tokens": length, "warmup_steps": 20}
    training = {
        "stage1": {"sources": ["cldr", *(p.look.name for p in pairs)], **stage, "learning_rate": 2 * chosen["rate"]},
        "stage2": {
            "instructions": True, "hard_negatives": True, "negatives": 3, **stage, "learning_rate": chosen["rate"],
            "objective": {"matryoshka": "published"},
        },
    }  # fmt: skip
    sources = [{"kind": "cldr", "pairs_per_name": 1}, *(proposal.entry for proposal in proposals)]
    return {
        "name": name,
        "storage": "runs",
        "corpus": {"sources": sources, "max_queries": 80000},
        "training": training,
        "mine": {"model": "base@stage1", "prompts": "none", "top_k": 30, "negatives": 8},
        "members": [
            {"name": "base", "backbone": {**chosen["backbone"], "max_tokens": length}, "stages": ["stage1", "stage2"]},
            {
                "name": "small", "prune": {"from": "base@stage1", **chosen["student"]}, "stages": ["stage2"],
                "teacher": "base",
            },
        ],
        "evaluate": {"heldout": ["cldr"]},
        "expect": _expect(proposals, pairs, length),
    }  # fmt: skip


def tokens_of(characters: float, sample: str) -> float:
    """Estimate tokens of a text from its characters."""
    dense = sum(ord(c) > 0x2E80 for c in sample) > 0.3 * max(1, len(sample))
    return characters / _CHARACTERS_PER_TOKEN[dense] + 1


def _tokens(proposal: Proposal, column: str) -> float:
    texts = proposal.look.texts(column)
    return tokens_of(proposal.look.mean_characters(column), "".join(texts[:20]))


def _longest(proposals: Sequence[Proposal]) -> int:
    """A limit that four of five texts keep, as a power of two from 64 to 1,024."""
    lengths = sorted(
        tokens_of(len(text), text)
        for p in proposals
        for column in (p.query, p.positive)
        for text in p.look.texts(column)
    )
    most = lengths[int(0.8 * (len(lengths) - 1))] if lengths else 64
    return min(1024, max(64, 2 ** math.ceil(math.log2(most))))


_NAMES = 40_000  # rows of the embedded source at one pair a name, about


def _expect(proposals: Sequence[Proposal], pairs: Sequence[Proposal], length: int) -> dict[str, Any]:
    return {
        "evaluation_texts": 15_000,
        "evaluation_tokens": 12,
        "corpus_rows": sum(p.look.rows for p in proposals) + 530_000,
        "mined_rows": sum(min(80_000, p.look.rows) for p in pairs if not p.brings_negatives),
        "stages": {
            "stage1": _stage(pairs, 0, length) | {"stored_negatives": 0},
            "stage2": _stage(proposals, _INSTRUCTION_TOKENS, length) | {"stored_negatives": 8},
        },
    }


def _stage(proposals: Sequence[Proposal], added: int, length: int) -> dict[str, Any]:
    rows = {p.look.name: max(1, min(80_000, p.look.rows)) for p in proposals} | {"cldr": _NAMES}
    total = sum(rows.values())
    query = sum(rows[p.look.name] * min(length, _tokens(p, p.query)) for p in proposals) + 6 * _NAMES
    document = sum(rows[p.look.name] * min(length, _tokens(p, p.positive)) for p in proposals) + 6 * _NAMES
    return {
        "rows_by_source": rows,
        "sources": len(rows),
        "query_tokens": round(query / total + added, 1),
        "document_tokens": round(document / total, 1),
    }


def write(data: dict[str, Any], target: Path, text: str) -> None:
    """Write a recipe, never over another one.

    Raises:
        UserError: the file is there.
    """
    if target.exists():
        raise UserError(f"{target}: is there already; give another name with `--out`.")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(f"# Written by `polyglossa init`; every key is documented in jobs/recipes/README.md.\n{text}")
