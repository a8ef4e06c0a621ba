"""Any model as a giver of raw states: the family's own encoder, or whatever sentence-transformers can load.

A model with last-token pooling goes through `model.encoder.Encoder`. Any other sentence-transformers model (mean or
CLS pooling, dense layers on top) keeps its own modules, less the final normalisation, and is only fed differently: by
a token budget instead of a fixed number of texts, longest first.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from transformers.utils.hub import cached_file

from polyglossa.errors import DataError
from polyglossa.folders import local_folder
from polyglossa.model.chunks import chunk_by_tokens
from polyglossa.model.encoder import Encoder
from polyglossa.vectors import Floats

_CHUNK_TOKENS = {"cpu": 2048, "cuda": 32_768}
_LAST_TOKEN = "lasttoken"


class StateEncoder(Protocol):
    """Any model that gives a raw state per rendered text."""

    fingerprint: str
    """Names all that shapes a state besides the text."""
    width: int
    prompts: dict[str, str]

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return raw states [N, width] of rendered texts, in their order."""
        ...


class FamilyEncoder:
    """Polyglossa's own encoder as a `StateEncoder`."""

    def __init__(self, encoder: Encoder, chunk_tokens: int) -> None:
        self.fingerprint, self.width, self.prompts = encoder.fingerprint, encoder.width, encoder.prompts
        self._encoder, self._chunk_tokens = encoder, chunk_tokens

    def embed(self, texts: Sequence[str]) -> Floats:
        """See `StateEncoder`."""
        return self._encoder.states(self._encoder.tokenize(texts), chunk_tokens=self._chunk_tokens).numpy()


class SentenceTransformerEncoder:
    """A sentence-transformers model as a `StateEncoder`."""

    def __init__(self, path: str, *, dtype: str, device: str, max_tokens: int | None, chunk_tokens: int) -> None:
        from sentence_transformers import SentenceTransformer

        try:
            model = SentenceTransformer(path, device=device, model_kwargs={"dtype": dtype, "use_safetensors": True})
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be loaded ({' '.join(str(error).split())[:300]}).") from None
        if max_tokens is not None:
            model.max_seq_length = min(max_tokens, model.max_seq_length or max_tokens)
        kept = [module for module in model if type(module).__name__ != "Normalize"]
        self._model = SentenceTransformer(modules=kept, device=device)
        self._model.max_seq_length = model.max_seq_length
        self._chunk_tokens = chunk_tokens
        self.width = int(model.get_embedding_dimension())
        self.prompts = {name: prompt for name, prompt in (model.prompts or {}).items() if prompt}
        self.fingerprint = _fingerprint(self._model, dtype)

    def embed(self, texts: Sequence[str]) -> Floats:
        """See `StateEncoder`."""
        limit = self._model.max_seq_length or 1 << 30
        lengths = [min(len(tokens), limit) for tokens in self._model.tokenizer(list(texts))["input_ids"]]
        states = np.zeros((len(texts), self.width), np.float32)
        for chunk in chunk_by_tokens(lengths, self._chunk_tokens):
            # An empty prompt: the text is rendered already, and the model's default prompt must not come on top.
            states[chunk] = self._model.encode(
                [texts[index] for index in chunk], prompt="", batch_size=len(chunk), show_progress_bar=False
            ).astype(np.float32)
        return states


def open_encoder(path: str, *, dtype: str, device: str, max_tokens: int | None) -> StateEncoder:
    """Load a model by name or from a directory.

    Args:
        path: a model directory on any storage, or a Hugging Face or sentence-transformers name.
        dtype: precision of the computation.
        device: torch device.
        max_tokens: longest text; None takes the model's own limit.

    Raises:
        DataError: nothing usable is there.
    """
    if "://" in path:
        with local_folder(path) as folder:
            return open_encoder(folder, dtype=dtype, device=device, max_tokens=max_tokens)
    chunk_tokens = _CHUNK_TOKENS[device]
    if _pooling(path) in (None, _LAST_TOKEN):
        encoder = Encoder.load(path, dtype=dtype, device=device, max_tokens=max_tokens)
        return FamilyEncoder(encoder, chunk_tokens)
    return SentenceTransformerEncoder(
        path, dtype=dtype, device=device, max_tokens=max_tokens, chunk_tokens=chunk_tokens
    )


def _pooling(path: str) -> str | None:
    """What a sentence-transformers model does after its backbone, in short; None for a plain model."""
    modules = _read(path, "modules.json")
    if modules is None:
        return None
    kinds = [module["type"].rpartition(".")[2] for module in modules]
    if set(kinds) - {"Transformer", "Pooling", "Normalize"} or "Pooling" not in kinds:
        return "+".join(kinds)
    config = _read(path, f"{modules[kinds.index('Pooling')]['path']}/config.json") or {}
    last = config.get("pooling_mode") == _LAST_TOKEN or config.get("pooling_mode_lasttoken")
    return _LAST_TOKEN if last else "other"


def _read(path: str, name: str) -> Any:
    file: str | None = str(Path(path) / name)
    if not Path(path).is_dir() and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", path):
        file = cached_file(
            path, name, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
        )
    return json.loads(Path(file).read_text(encoding="utf-8")) if file and Path(file).is_file() else None


def _fingerprint(model: Any, dtype: str) -> str:
    """Hash weights, every module's settings, the tokenizer and the longest text."""
    digest = hashlib.blake2b(f"{dtype}/{model.max_seq_length}".encode(), digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    for module in model:
        settings = module.get_config_dict() if hasattr(module, "get_config_dict") else {}
        digest.update(f"{type(module).__name__}{json.dumps(settings, sort_keys=True, default=str)}".encode())
    digest.update(json.dumps(model.tokenizer.get_vocab(), sort_keys=True).encode())
    return digest.hexdigest()
