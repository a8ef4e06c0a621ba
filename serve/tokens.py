"""From texts to token ids in the ingress, without torch: the same tokenizer file and limits that the encoder reads.

Counts come with the ids, so batching, limits and usage never count a text twice.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tokenizers import Tokenizer

from serve.problems import Problem

Keep = Literal["start", "end", "all"]
"""What stays of a text that is too long; `all` refuses it."""


@dataclass(frozen=True)
class ModelCard:
    """What the ingress knows of a member without its weights."""

    width: int
    vocabulary: int
    max_tokens: int
    prompts: dict[str, str]
    widths: tuple[int, ...]


def read_card(path: str, max_tokens: int | None) -> ModelCard:
    """Read a model directory's shape, limits and prompts.

    Args:
        path: local model directory.
        max_tokens: a lower limit on texts than the model's own; None keeps that.
    """
    root = Path(path)
    config = _read(root / "config.json")
    limits = [config["max_position_embeddings"], _read(root / "tokenizer_config.json").get("model_max_length")]
    prompts = _read(root / "config_sentence_transformers.json").get("prompts") or {}
    return ModelCard(
        width=config["hidden_size"],
        vocabulary=config["vocab_size"],
        max_tokens=int(min(limit for limit in [*limits, max_tokens] if limit)),
        prompts=dict(prompts),
        widths=tuple(config.get("matryoshka_dimensions") or (config["hidden_size"],)),
    )


class Tokens:
    """A member's tokenizer. Its calls run in a thread: the Rust code releases the interpreter lock."""

    def __init__(self, path: str, card: ModelCard) -> None:
        self.max_tokens = card.max_tokens
        self.digest = tokenizer_digest(path)
        """A replica with another one is of another version: it would misread these ids."""
        self._tokenizer = Tokenizer.from_file(str(Path(path) / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.eos = self._tokenizer.encode("").ids[-1]

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Tokenise rendered texts, uncut; EOS last. Returns int32 arrays."""
        return [np.array(encoding.ids, np.int32) for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def fit(self, ids: np.ndarray, keep: Keep) -> np.ndarray:
        """Cut a text to `max_tokens`, EOS still last.

        Raises:
            Problem: 413, the text is too long and all of it is to be kept.
        """
        body = ids[:-1] if ids.size and ids[-1] == self.eos else ids
        room = self.max_tokens - 1
        if body.size > room:
            if keep == "all":
                message = f"A text has {body.size + 1} tokens; this model reads {self.max_tokens}. Allow truncation."
                raise Problem(413, "text_too_long", message)
            body = body[:room] if keep == "start" else body[body.size - room :]
        return np.append(body, np.int32(self.eos))


def tokenizer_digest(path: str) -> str:
    """Hash a model directory's tokenizer file."""
    return hashlib.blake2b((Path(path) / "tokenizer.json").read_bytes(), digest_size=16).hexdigest()


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
