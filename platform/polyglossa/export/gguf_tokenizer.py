"""A tokenizer as GGUF holds it: tokens, their kinds, merges, and the name of how text is split. Pure data.

llama.cpp splits text by rules that it knows by name. What no such name stands for is refused.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerFast

from polyglossa.errors import DataError

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED = 1, 2, 3, 4, 5
_SPLITS = {
    # Qwen2 and Qwen3.
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+": (
        "qwen2"
    ),
    # Llama 3.
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+": "llama-bpe",
}


@dataclass(frozen=True)
class GgufTokenizer:
    """What GGUF's metadata say of a tokenizer."""

    model: str
    """`bert` (WordPiece) or `gpt2` (byte-level BPE)."""
    split: str
    """llama.cpp's name of how text is split."""
    tokens: list[str]
    kinds: list[int]
    merges: list[str] = field(default_factory=list)
    before: int | None = None
    """Id put before each text."""
    behind: int | None = None
    """Id put behind each text."""
    padding: int | None = None
    unknown: int | None = None
    notes: list[str] = field(default_factory=list)
    """What a user of the file has to know."""


def read_gguf_tokenizer(tokenizer: PreTrainedTokenizerFast, rows: int) -> GgufTokenizer:
    """Put a tokenizer into GGUF's terms.

    Args:
        tokenizer: complete, with its post-processor.
        rows: of the model's table; ids without a token are filled up to there.

    Raises:
        DataError: it does what llama.cpp has no name for.
    """
    plain = json.loads(tokenizer.backend_tokenizer.to_str())
    kind = plain["model"]["type"]
    before, behind = _ends(tokenizer)
    common = {
        "kinds": _kinds(plain, rows, tokenizer.unk_token_id),
        "before": before,
        "behind": behind,
        "padding": tokenizer.pad_token_id,
        "unknown": tokenizer.unk_token_id,
    }
    if kind == "WordPiece":
        _check_wordpiece(plain)
        tokens = [_phantom_space(token) for token in _tokens(plain, rows)]
        return GgufTokenizer("bert", "bert-bge", tokens, **common)
    if kind == "BPE":
        split, notes = _byte_level(plain)
        merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in plain["model"]["merges"]]
        return GgufTokenizer("gpt2", split, _tokens(plain, rows), merges=merges, notes=notes, **common)
    raise DataError(f"gguf: a tokenizer of kind {kind} is not written; WordPiece and byte-level BPE are.")


def _ends(tokenizer: PreTrainedTokenizerFast) -> tuple[int | None, int | None]:
    """Return the one special token before a text and the one behind it."""
    encoding = tokenizer.backend_tokenizer.encode("a")
    flags = list(encoding.special_tokens_mask)
    own = [place for place, flag in enumerate(flags) if not flag]
    before, behind = encoding.ids[: own[0]], encoding.ids[own[-1] + 1 :]
    if len(before) > 1 or len(behind) > 1:
        raise DataError(
            f"gguf: the tokenizer puts {len(before)} special tokens before a text and {len(behind)} behind it; "
            "llama.cpp puts at most one on either side."
        )
    return (before[0] if before else None), (behind[0] if behind else None)


def _check_wordpiece(plain: dict[str, Any]) -> None:
    normalizer = plain.get("normalizer") or {}
    if normalizer.get("type") != "BertNormalizer" or not normalizer.get("lowercase"):
        raise DataError("gguf: a WordPiece tokenizer that keeps upper case is not written; llama.cpp lower-cases.")
    if normalizer.get("strip_accents") is False:
        raise DataError("gguf: a WordPiece tokenizer that keeps accents is not written; llama.cpp strips them.")
    if (plain.get("pre_tokenizer") or {}).get("type") != "BertPreTokenizer":
        raise DataError("gguf: a WordPiece tokenizer that does not split as BERT does is not written.")


def _byte_level(plain: dict[str, Any]) -> tuple[str, list[str]]:
    normalizer = plain.get("normalizer")
    if normalizer is not None and normalizer != {"type": "NFC"}:
        raise DataError(f"gguf: a tokenizer that normalises text ({normalizer.get('type')}) is not written.")
    own = plain.get("pre_tokenizer") or {}
    parts = own.get("pretokenizers", [own])
    last = parts[-1]
    if last.get("type") != "ByteLevel":
        raise DataError(f"gguf: a BPE that is not byte-level ({last.get('type')}) is not written.")
    notes = []
    if last.get("add_prefix_space"):
        notes.append(
            "the tokenizer puts a space before each text, and llama.cpp does not: put one there yourself "
            '(" text" for "text").'
        )
    if len(parts) == 1 and last.get("use_regex", True):
        return "gpt-2", notes
    pattern = parts[0].get("pattern", {}).get("Regex") if len(parts) == 2 else None
    if pattern not in _SPLITS or last.get("use_regex", True):
        raise DataError(
            "gguf: how the tokenizer splits text has no name in llama.cpp; known are Qwen2, Llama 3, GPT-2."
        )
    return _SPLITS[pattern], notes


def _tokens(plain: dict[str, Any], rows: int) -> list[str]:
    by_id = {index: token for token, index in plain["model"]["vocab"].items()}
    by_id |= {token["id"]: token["content"] for token in plain["added_tokens"]}
    if max(by_id) >= rows:
        raise DataError(f"gguf: the tokenizer has ids up to {max(by_id)}, and the model's table {rows} rows.")
    return [by_id.get(index, f"[PAD{index}]") for index in range(rows)]


def _kinds(plain: dict[str, Any], rows: int, unknown: int | None) -> list[int]:
    kinds = [_UNUSED] * rows
    for index in plain["model"]["vocab"].values():
        kinds[index] = _NORMAL
    for token in plain["added_tokens"]:
        kinds[token["id"]] = _CONTROL if token["special"] else _USER_DEFINED
    if unknown is not None:
        kinds[unknown] = _UNKNOWN
    return kinds


def _phantom_space(token: str) -> str:
    """Write a WordPiece as llama.cpp has it: what begins a word begins with ▁, what goes on has no ##."""
    if token.startswith("##"):
        return token[2:]
    return token if token.startswith("[") and token.endswith("]") else "\u2581" + token
