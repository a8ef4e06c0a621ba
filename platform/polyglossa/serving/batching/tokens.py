"""From texts to token ids in the ingress: the same tokenizer and limits that the encoder reads.

Counts come with the ids, so batching, limits and usage never count a text twice.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from polyglossa.errors import DataError
from polyglossa.model.adapter_files import adapter_tasks
from polyglossa.model.directory import describe_directory
from polyglossa.model.tokenizer_folder import load_directory_tokenizer
from polyglossa.serving.errors import ApiError

Keep = Literal["start", "end", "all"]
"""What stays of a text that is too long; `all` refuses it."""


@dataclass(frozen=True)
class ModelCard:
    """What the ingress knows of a member without its weights."""

    width: int
    vocabulary: int
    max_tokens: int
    prompts: dict[str, str]
    default_prompt: str | None
    """Name of the prompt of texts for which none is named."""
    widths: tuple[int, ...]
    tasks: tuple[str, ...] = ()
    """Tasks that it has adapters for."""


def read_card(path: str, max_tokens: int | None) -> ModelCard:
    """Read a model directory's shape, limits and prompts.

    Args:
        path: local model directory.
        max_tokens: a lower limit on texts than the model's own; None keeps that.

    Raises:
        DataError: nothing usable is there, or something of it is not known.
    """
    description, config = describe_directory(path)
    tokenizer = load_directory_tokenizer(path, max_tokens=max_tokens)
    return ModelCard(
        width=description.width,
        vocabulary=int(config.vocab_size),
        max_tokens=min(tokenizer.model_max_length, description.longest),
        prompts=dict(description.prompts),
        default_prompt=description.default_prompt,
        widths=tuple(getattr(config, "matryoshka_dimensions", None) or (description.width,)),
        tasks=adapter_tasks(path),
    )


class Tokens:
    """A member's tokenizer. Its calls run in a thread: the Rust code releases the interpreter lock."""

    def __init__(self, path: str, card: ModelCard) -> None:
        self.max_tokens = card.max_tokens
        self.digest = tokenizer_digest(path)
        """A replica with another one is of another version: it would misread these ids."""
        self._tokenizer = load_directory_tokenizer(path).backend_tokenizer
        special = self._tokenizer.encode("a").special_tokens_mask
        ids = np.array(self._tokenizer.encode("a").ids, np.int32)
        own = [place for place, flag in enumerate(special) if not flag] or [len(ids)]
        self._before, self._behind = ids[: own[0]], ids[own[-1] + 1 :]
        self.blank = np.concatenate([self._before, self._behind]) if len(ids) > len(own) else np.zeros(1, np.int32)
        """Tokens of a text without words."""
        if card.max_tokens <= len(self._before) + len(self._behind):
            raise DataError(f"{path}: reads {card.max_tokens} tokens, which leaves none for the text.")

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Tokenise rendered texts, uncut, special tokens included. Returns int32 arrays."""
        return [np.array(encoding.ids, np.int32) for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def fit(self, ids: np.ndarray, keep: Keep) -> np.ndarray:
        """Cut a text to `max_tokens`, its special tokens still at their ends; ids that lack them are given them.

        Raises:
            Problem: 413, the text is too long and all of it is to be kept.
        """
        first, last = len(self._before), len(self._behind)
        body = ids[first:] if first and np.array_equal(ids[:first], self._before) else ids
        body = body[: len(body) - last] if last and np.array_equal(body[len(body) - last :], self._behind) else body
        room = self.max_tokens - first - last
        if body.size > room:
            if keep == "all":
                total = body.size + first + last
                message = f"A text has {total} tokens; this model reads {self.max_tokens}. Allow truncation."
                raise ApiError(413, "text_too_long", message)
            body = body[:room] if keep == "start" else body[body.size - room :]
        return np.concatenate([self._before, body, self._behind]).astype(np.int32)


def tokenizer_digest(path: str) -> str:
    """Hash a model directory's tokenizer file."""
    return hashlib.blake2b((Path(path) / "tokenizer.json").read_bytes(), digest_size=16).hexdigest()
