"""The one encoder of mining, training's export, evaluation and HTTP: render → tokenise → embed → truncate → normalise.

N = texts, S = width of a state. States are raw (what the teacher store and the vector store keep); `finish` makes
vectors of them.
"""

import hashlib
import json
from collections import deque
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from polyglossa.model.dense import Dense
from polyglossa.model.description import ModelDescription
from polyglossa.model.directory import DTYPES, load_model, load_model_tokenizer
from polyglossa.model.forward import TextModel, fill_up
from polyglossa.model.instructions import instruction_prompt
from polyglossa.model.pass_plan import Pass, plan_passes
from polyglossa.model.tokenizer_folder import tokenizer_fingerprint
from polyglossa.runtime.precision import apply_precision
from polyglossa.runtime.transfer import send

_FORWARD = 1
"""Raised when the forward path gives other numbers for the same model, so that stored states are not read for it."""
PASS_TOKENS = {"cpu": 2048, "cuda": 32_768}
"""Token budget of a forward pass where none is named, by kind of device: a GPU is bound by launches below it."""
_LEAST_FILLED = {"cpu": 512, "cuda": 2048}  # tokens; a single query is not made longer
# Of a configuration, what changes no number: names, versions, and what training and generation alone read.
_SILENT = frozenset({"_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype", "use_cache"})


def finish(state_NS: Tensor, width: int | None = None) -> Tensor:
    """Truncate raw states to a width and L2-normalise them.

    Raises:
        ValueError: the width is not within 1 … S.
    """
    limit = state_NS.shape[-1]
    if width is not None and not 1 <= width <= limit:
        raise ValueError(f"width: {width} is not within 1 … {limit}")
    return torch.nn.functional.normalize(state_NS[..., :width], dim=-1)


class Encoder:
    """A model and its tokenizer, for inference.

    Attributes:
        model: backbone, pooling and dense layers, in evaluation mode.
        tokenizer: adds the special tokens itself.
        max_tokens: longest text (tokens, special ones included); the rest is cut.
    """

    def __init__(self, model: TextModel, tokenizer: PreTrainedTokenizerFast, *, max_tokens: int) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens

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
            DataError: nothing usable is there, or something of it is not known.
            ValueError: no such precision.
        """
        if dtype not in (*DTYPES, "int8"):
            raise ValueError(f"dtype: {dtype!r} is not one of {', '.join(DTYPES)}, int8")
        apply_precision(dtype)
        model = load_model(path, dtype, device=device, revision=revision)
        tokenizer = load_model_tokenizer(path, model, revision=revision, max_tokens=max_tokens)
        return cls(model, tokenizer, max_tokens=tokenizer.model_max_length)

    def with_adapter(self, folder: str) -> "Encoder":
        """Return an encoder of the same weights, held once, and a task's adapter.

        Args:
            folder: of the adapter, in peft's form: `adapters/<task>` of a model directory.

        Raises:
            DataError: it is no LoRA adapter of this model.
        """
        from polyglossa.model.variants.lora import with_adapter  # peft is large

        dense = [layer for layer in self.model.dense if isinstance(layer, Dense)]
        model = TextModel(with_adapter(self.backbone, folder), dense, self.description)
        return Encoder(model, self.tokenizer, max_tokens=self.max_tokens)

    @property
    def backbone(self) -> PreTrainedModel:
        """The model without pooling and dense layers."""
        return self.model.backbone

    @property
    def description(self) -> ModelDescription:
        """How a text becomes a vector."""
        return self.model.description

    @property
    def width(self) -> int:
        """Width of a raw state."""
        return self.description.width

    @property
    def prompts(self) -> dict[str, str]:
        """Prompts of the model directory: name → prefix."""
        return dict(self.description.prompts)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all that shapes a vector: weights, configuration, tokenizer, description, longest text, code."""
        digest = hashlib.blake2b(digest_size=16)
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        digest.update(configuration_of(self.backbone.config).encode())
        digest.update(f"{self.tokenizer_fingerprint}/{self.tokenizer.truncation_side}".encode())
        digest.update(f"{self.description.canonical()}/{self.max_tokens}".encode())
        digest.update(f"{_FORWARD}/{transformers.__version__}".encode())
        return digest.hexdigest()

    @property
    def tokenizer_fingerprint(self) -> str:
        """Hash of the tokenizer."""
        return tokenizer_fingerprint(self.tokenizer)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenise rendered texts, special tokens included; each is cut to `max_tokens`."""
        return tokenize(self.tokenizer, texts, self.max_tokens)

    @torch.inference_mode()
    def states(self, token_ids: Sequence[Sequence[int]], *, chunk_tokens: int | None = None) -> Tensor:
        """Embed tokenised texts; what many begin with is computed once a pass where no token of it sees what follows.

        Args:
            token_ids: tokens of each text, special ones included.
            chunk_tokens: token budget of one forward pass; None takes the device's.

        Returns:
            state_NS: raw pooled states, float32, on the CPU, in the order of the texts; zero for a text of no tokens.
        """
        state_NS = torch.zeros(len(token_ids), self.width)
        written = [index for index, tokens in enumerate(token_ids) if len(tokens)]
        budget = chunk_tokens or PASS_TOKENS[self.model.device.type]
        plan = plan_passes([token_ids[index] for index in written], budget, share=self.description.shares_beginnings)
        # One pass stays under way while the one before it is fetched, so that a GPU does not wait for the host.
        under_way: deque[tuple[list[int], Tensor]] = deque()
        for one in plan:
            under_way.append(([written[text] for text in one.texts], self._pass(one)))
            if len(under_way) > 1:
                _fetch(under_way.popleft(), state_NS)
        if under_way:
            _fetch(under_way.popleft(), state_NS)
        return state_NS

    def _pass(self, one: Pass) -> Tensor:
        """Return the states of one pass, where the model is."""
        lengths = [len(part) for part in one.parts]
        tokens_N = send(torch.tensor([token for part in one.parts for token in part]), self.model.device)
        if self._fills_up and len(tokens_N) >= _LEAST_FILLED[self.model.device.type]:
            tokens_N, lengths = fill_up(tokens_N, lengths)
        shared, first = len(one.parts[0]) if one.shared else 0, int(one.shared)
        state_BS: Tensor = self.model(tokens_N, lengths, shared_tokens=shared)
        return state_BS[first : first + len(one.texts)].float()

    def embed(self, texts: Sequence[str], *, chunk_tokens: int | None = None) -> Tensor:
        """Return the raw states [N, S] of rendered texts."""
        return self.states(self.tokenize(texts), chunk_tokens=chunk_tokens)

    @property
    def _fills_up(self) -> bool:
        return self.description.packed and self.backbone.dtype == torch.bfloat16

    def encode(
        self,
        texts: Sequence[str],
        *,
        instruction: str | None = None,
        prompt: str | None = None,
        width: int | None = None,
        chunk_tokens: int | None = None,
    ) -> np.ndarray:
        """Embed texts.

        Args:
            texts: bare texts.
            instruction: put before each of them (queries); an empty one leaves them bare.
            prompt: name of one of the model's prompts, instead of an instruction. Where neither is given, the model's
                default prompt goes before them, if it has one, as in sentence-transformers.
            width: Matryoshka width; None is the full one.
            chunk_tokens: token budget of one forward pass; None takes the device's.

        Returns:
            vector_NS: float32 of unit length, N × width.

        Raises:
            ValueError: one text instead of several, what is no text, a prompt that the model does not have, or prompt
                and instruction.
        """
        if isinstance(texts, str):
            raise ValueError("texts: got one text; give a list of texts")
        _check_texts(texts)
        if prompt is not None and instruction is not None:
            raise ValueError("give an instruction or the name of a prompt, not both")
        if prompt is not None and prompt not in self.description.prompts:
            raise ValueError(f"prompt: {prompt!r} is not one of {', '.join(self.description.prompts) or 'none'}")
        named = prompt or self.description.default_prompt or ""
        before = self.description.prompts.get(named, "") if instruction is None else instruction_prompt(instruction)
        return finish(self.embed([before + text for text in texts], chunk_tokens=chunk_tokens), width).numpy()


def _check_texts(texts: Sequence[str]) -> None:
    for place, text in enumerate(texts):
        if not isinstance(text, str):  # NaN, for one, where a table has no text
            raise ValueError(f"texts[{place}]: got {text!r:.80}; every text is a str, and a missing one is left out")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"texts[{place}]: holds half of a surrogate pair, which is no character: {text!r:.80}"
            ) from None


def _fetch(part: tuple[list[int], Tensor], state_NS: Tensor) -> None:
    rows, state_BS = part
    state_NS[rows] = state_BS.cpu()


def configuration_of(config: PretrainedConfig) -> str:
    """Return a configuration's values as one string, without what changes no number."""
    plain = {name: value for name, value in config.to_dict().items() if name not in _SILENT}
    return json.dumps(plain, sort_keys=True, default=str)


def tokenize(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Tokenise rendered texts, special tokens included; each is cut to `max_tokens`."""
    if not texts:
        return []
    encoded = tokenizer(list(texts), truncation=True, max_length=max_tokens, padding=False, return_attention_mask=False)
    return list(encoded["input_ids"])
