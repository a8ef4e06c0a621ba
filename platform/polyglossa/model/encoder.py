"""The one encoder of mining, training's export, evaluation and HTTP: render → tokenise → embed → truncate → normalise.

N = texts, D = width of the backbone. States are raw (what the teacher store and the vector store keep); `finish`
makes vectors of them.
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from polyglossa.model.chunks import chunk_by_tokens
from polyglossa.model.directory import load_backbone, read_prompts
from polyglossa.model.pooling import embed_chunk, first_position, pad_chunk
from polyglossa.model.tokenizer import load_tokenizer

POOLING = "last-token"


def render(text: str, instruction: str | None) -> str:
    """Put a text behind its task's instruction; without one the text stays bare."""
    return f"Instruct: {instruction}\nQuery: {text}" if instruction else text


def finish(state_ND: Tensor, width: int | None = None) -> Tensor:
    """Truncate raw states to a width and L2-normalise them.

    Raises:
        ValueError: the width is not within 1 … D.
    """
    limit = state_ND.shape[-1]
    if width is not None and not 1 <= width <= limit:
        raise ValueError(f"width: {width} is not within 1 … {limit}")
    return torch.nn.functional.normalize(state_ND[..., :width], dim=-1)


class Encoder:
    """A backbone and its tokenizer, for inference.

    Attributes:
        backbone: the model, in evaluation mode.
        tokenizer: appends EOS itself.
        max_tokens: longest text (tokens, EOS included); the rest is cut.
        width: D.
        prompts: name → prefix of the model directory.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        *,
        max_tokens: int,
        prompts: dict[str, str] | None = None,
    ) -> None:
        self.backbone = backbone.eval()
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.width = int(backbone.config.hidden_size)
        self.prompts = prompts or {}

    @classmethod
    def load(
        cls,
        path: str,
        *,
        dtype: str = "float32",
        device: str = "cpu",
        max_tokens: int | None = None,
        revision: str | None = None,
    ) -> "Encoder":
        """Load a model by Hugging Face name or from a local directory.

        Args:
            path: name or directory; safetensors only, no remote code.
            dtype: compute precision, `float32`, `bfloat16` or `float64`; `int8` keeps the weights of linear layers so.
            device: torch device.
            max_tokens: longest text; None takes the model's own limit.
            revision: commit on the hub.

        Raises:
            DataError: nothing usable is there.
        """
        backbone = load_backbone(path, dtype, device=device, revision=revision)
        tokenizer = load_tokenizer(path, revision=revision)
        longest = int(backbone.config.max_position_embeddings) - first_position(backbone.config)
        limit = min(tokenizer.model_max_length, longest)
        return cls(backbone, tokenizer, max_tokens=min(max_tokens or limit, limit), prompts=read_prompts(path))

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all that shapes a state: weights, their dtype, tokenizer, pooling and longest text."""
        digest = hashlib.blake2b(digest_size=16)
        for name, tensor in sorted(self.backbone.state_dict().items()):
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        digest.update(self.tokenizer_fingerprint.encode())
        digest.update(f"{POOLING}/{self.max_tokens}".encode())
        return digest.hexdigest()

    @property
    def tokenizer_fingerprint(self) -> str:
        """Hash of the tokenizer."""
        return tokenizer_fingerprint(self.tokenizer)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenise rendered texts; each is cut to `max_tokens` and ends with EOS."""
        return tokenize(self.tokenizer, texts, self.max_tokens)

    @torch.inference_mode()
    def states(self, token_ids: Sequence[Sequence[int]], *, chunk_tokens: int = 2048) -> Tensor:
        """Embed tokenised texts.

        Args:
            token_ids: tokens of each text, EOS last.
            chunk_tokens: token budget of one forward pass.

        Returns:
            state_ND: raw pooled states, float32, on the CPU, in the order of the texts.
        """
        state_ND = torch.zeros(len(token_ids), self.width)
        for chunk in chunk_by_tokens([len(tokens) for tokens in token_ids], chunk_tokens):
            padding = self.backbone.config.pad_token_id
            input_ids_BL, lengths_B = pad_chunk([token_ids[index] for index in chunk], padding=padding or 0)
            device = self.backbone.device
            state_BD = embed_chunk(self.backbone, input_ids_BL.to(device), lengths_B.to(device))
            state_ND[torch.tensor(chunk)] = state_BD.float().cpu()
        return state_ND

    def encode(
        self,
        texts: Sequence[str],
        *,
        instruction: str | None = None,
        width: int | None = None,
        chunk_tokens: int = 2048,
    ) -> np.ndarray:
        """Embed texts.

        Args:
            texts: bare texts.
            instruction: put before each of them (queries); None leaves them bare (documents).
            width: Matryoshka width; None is the full one.
            chunk_tokens: token budget of one forward pass.

        Returns:
            vector_ND: float32 of unit length, N × width.
        """
        token_ids = self.tokenize([render(text, instruction) for text in texts])
        return finish(self.states(token_ids, chunk_tokens=chunk_tokens), width).numpy()


def tokenize(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Tokenise rendered texts; each is cut to `max_tokens` and ends with EOS."""
    if not texts:
        return []
    encoded = tokenizer(list(texts), truncation=True, max_length=max_tokens, padding=False, return_attention_mask=False)
    return list(encoded["input_ids"])


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerFast) -> str:
    """Hash of a tokenizer's vocabulary, merges and post-processor; its limit on length is left out."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return hashlib.blake2b(backend.to_str().encode(), digest_size=16).hexdigest()
