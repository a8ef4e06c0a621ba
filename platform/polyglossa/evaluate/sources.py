"""What can be judged: a model directory of ours, any sentence-transformers directory, an OpenAI-compatible endpoint.

A source gives the raw states of rendered texts. Ours are embedded by the one encoder; a directory whose pooling or
attention is another goes through sentence-transformers, as mteb itself would load it.
"""

import hashlib
import json
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from polyglossa.errors import DataError
from polyglossa.evaluate.endpoint import EndpointSource
from polyglossa.evaluate.prefix import embed_texts
from polyglossa.evaluate.spec import ModelSpec
from polyglossa.evaluate.states import Floats
from polyglossa.folders import local_folder
from polyglossa.model.encoder import Encoder


class Source(Protocol):
    """Something that embeds rendered texts."""

    width: int
    parameters: int | None
    max_tokens: int | None
    prompts: dict[str, str]
    widths: tuple[int, ...]
    """Matryoshka widths below the full one, ascending."""
    finished: bool
    """Whether its states are vectors already, to be used as they are; if not, they are cut and normalised here."""
    similarity: str
    """`cosine` or `dot`."""

    @property
    def fingerprint(self) -> str:
        """Names all that shapes a state besides the text."""

    def embed(self, texts: list[str]) -> Floats:
        """Return raw states [N, D]."""


class EncoderSource:
    """A directory that the one encoder reads."""

    finished = False
    similarity = "cosine"

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.width = encoder.width
        self.parameters: int | None = sum(parameter.numel() for parameter in encoder.backbone.parameters())
        self.max_tokens: int | None = encoder.max_tokens
        self.prompts = encoder.prompts
        declared = getattr(encoder.backbone.config, "matryoshka_dimensions", None) or ()
        self.widths = tuple(sorted(width for width in declared if width < encoder.width))

    @property
    def fingerprint(self) -> str:
        """The encoder's own."""
        return self.encoder.fingerprint

    def embed(self, texts: list[str]) -> Floats:
        """Embed with the shared beginnings of the texts computed once."""
        return embed_texts(self.encoder, texts).numpy()


class SentenceTransformersSource:
    """A directory that sentence-transformers alone can read."""

    finished = True

    def __init__(self, path: str, max_tokens: int | None, dtype: str) -> None:
        from sentence_transformers import SentenceTransformer  # seconds to load; most runs never need it

        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = SentenceTransformer(path, device=device, model_kwargs={"dtype": dtype})
        if max_tokens is not None:
            self.model.max_seq_length = min(max_tokens, self.model.max_seq_length or max_tokens)
        self.width = int(self.model.encode(["width"]).shape[1])
        self.parameters: int | None = sum(parameter.numel() for parameter in self.model.parameters())
        self.max_tokens: int | None = self.model.max_seq_length
        self.prompts = {name: prompt for name, prompt in self.model.prompts.items() if prompt is not None}
        self.widths: tuple[int, ...] = ()
        self.similarity = str(self.model.similarity_fn_name or "cosine")
        self.fingerprint = _folder_hash(Path(path), self.max_tokens, dtype)

    def embed(self, texts: list[str]) -> Floats:
        """Embed rendered texts as they are: mteb's rules have put the prompt before them."""
        vectors = self.model.encode(texts, prompt="", convert_to_numpy=True, show_progress_bar=False)
        return np.asarray(vectors, np.float32)


def open_source(spec: ModelSpec) -> Source:
    """Open a model.

    Raises:
        DataError: there is no model, or nothing here can read it.
    """
    if spec.endpoint is not None:
        return EndpointSource(spec.endpoint, spec.name.rpartition("/")[2], **spec.options)
    if spec.path is None:
        raise DataError(f"{spec.name}: has neither a directory nor an endpoint.")
    dtype = spec.dtype or "float32"
    with local_folder(spec.path) as path:
        if _pools_otherwise(Path(path)):
            return SentenceTransformersSource(path, spec.max_tokens, dtype)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return EncoderSource(Encoder.load(path, dtype=dtype, device=device, max_tokens=spec.max_tokens))


def _pools_otherwise(folder: Path) -> bool:
    """Whether a sentence-transformers directory does anything but last-token pooling and normalising."""
    if not (folder / "modules.json").is_file():
        return False
    modules = json.loads((folder / "modules.json").read_text())
    kinds = [module["type"].rpartition(".")[2] for module in modules]
    if kinds not in (["Transformer", "Pooling", "Normalize"], ["Transformer", "Pooling"]):
        return True
    pooling = json.loads((folder / modules[1]["path"] / "config.json").read_text())
    last = pooling.get("pooling_mode_lasttoken") or pooling.get("pooling_mode") == "lasttoken"
    # A prompt that is left out of the pooled text makes another model of it.
    return not last or not pooling.get("include_prompt", True)


def _folder_hash(folder: Path, max_tokens: int | None, dtype: str) -> str:
    digest = hashlib.blake2b(f"sentence-transformers/{max_tokens}/{dtype}".encode(), digest_size=16)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\x1f")
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "blake2b").digest())
    return digest.hexdigest()
