"""A cross-encoder: any `CrossEncoder` of sentence-transformers with one label; scores are the ones that it gives."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from sentence_transformers import CrossEncoder
from transformers import AutoConfig

from polyglossa.errors import DataError
from polyglossa.model.tokenizer_folder import tokenizer_fingerprint
from polyglossa.storage import cached_folder

_BATCH = {"cpu": 16, "cuda": 128}
_HEADS = ("ForSequenceClassification", "ForCausalLM")


class CrossEncoderScorer:
    """A model that runs here."""

    def __init__(self, path: str, *, dtype: str, device: str, max_tokens: int | None = None) -> None:
        """Load it.

        Args:
            path: a model directory on any storage, or a Hugging Face name; no remote code.
            dtype: precision of the computation.
            device: torch device.
            max_tokens: longest pair; None takes the model's own limit.

        Raises:
            DataError: nothing loadable is there, it embeds texts one by one, or it gives several numbers a pair.
        """
        folder = cached_folder(path) if "://" in path else path
        try:
            _check_is_one(folder, path)
            self._model = CrossEncoder(
                folder,
                device=device,
                max_length=max_tokens,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True, "dtype": getattr(torch, dtype)},
            )
        except (OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise DataError(f"mine.rescore.model: {path}: cannot be loaded as a cross-encoder ({reason}).") from None
        if self._model.num_labels != 1:
            raise DataError(
                f"mine.rescore.model: {path}: gives {self._model.num_labels} numbers a pair, and which of them says "
                "that a document answers is not known; take a cross-encoder with one label."
            )
        self._batch = _BATCH[torch.device(device).type]

    @property
    def fingerprint(self) -> str:
        """Hash of weights, configuration, tokenizer, activation and longest pair."""
        model = self._model
        digest = hashlib.blake2b(digest_size=12)
        for name, tensor in sorted(model.state_dict().items()):
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        told = {
            "modules": [str(module) for module in model],
            "activation": str(model.activation_fn),
            "tokenizer": tokenizer_fingerprint(model.tokenizer),
            "longest": model.max_seq_length,
            "prompts": model.prompts,
            "prompt": model.default_prompt_name,
        }
        digest.update(json.dumps(told, sort_keys=True, default=str).encode())
        return f"pairs-{digest.hexdigest()}"

    def score(self, queries: Sequence[str], documents: Sequence[str]) -> Iterator[tuple[int, float]]:
        """See `PairScorer`."""
        pairs = list(zip(queries, documents, strict=True))
        scores = self._model.predict(pairs, batch_size=self._batch, show_progress_bar=False, convert_to_numpy=True)
        yield from enumerate(scores.tolist())


def _check_is_one(folder: str, named: str) -> None:
    """Refuse what would be loaded with a head of random numbers, or read as a chat model that says yes and no."""
    about = Path(folder) / "config_sentence_transformers.json"
    if about.is_file() and json.loads(about.read_text(encoding="utf-8")).get("model_type") == "SentenceTransformer":
        raise DataError(f"mine.rescore.model: {named}: is an embedding model, which reads texts one by one.")
    if (Path(folder) / "modules.json").is_file() and not (Path(folder) / "config.json").is_file():
        return  # modules in folders of their own
    known = AutoConfig.from_pretrained(folder, trust_remote_code=False).architectures or ()
    if not any(name.endswith(_HEADS) for name in known):
        raise DataError(
            f"mine.rescore.model: {named}: has no head of its own ({', '.join(known) or 'no architecture'}); an "
            "embedding model or a bare backbone is no cross-encoder."
        )
