"""A cross-encoder: a sequence classifier with one output that reads a query and a document together."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from polyglossa.errors import DataError
from polyglossa.export.padded_encoder import padded_passes
from polyglossa.model.tokenizer import load_tokenizer

_PASS_TOKENS = 4096


class CrossEncoder:
    """A model directory whose head gives one number for a pair of texts."""

    def __init__(self, path: str, *, device: str = "cpu", max_tokens: int | None = None) -> None:
        """Load it.

        Args:
            path: local model directory, safetensors, no remote code.
            device: torch device.
            max_tokens: longest pair (tokens); None takes the model's own limit.

        Raises:
            DataError: nothing loadable is there, or its head gives more than one number.
        """
        self._tokenizer = load_tokenizer(path)
        try:
            config = AutoConfig.from_pretrained(path, trust_remote_code=False)
            if int(config.num_labels) != 1:
                raise DataError(f"{path}: its head gives {config.num_labels} numbers; a reranker's gives one.")
            model, loaded = AutoModelForSequenceClassification.from_pretrained(
                path, use_safetensors=True, trust_remote_code=False, output_loading_info=True, dtype=torch.float32
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise DataError(f"{path}: cannot be loaded as a cross-encoder ({reason}).") from None
        if loaded["missing_keys"] or loaded["mismatched_keys"]:
            odd = sorted(map(str, [*loaded["missing_keys"], *loaded["mismatched_keys"]]))
            raise DataError(f"{path}: has no head of its own ({odd[0]} is missing); an embedding model is no reranker.")
        self._model = model.to(device).eval()
        longest = int(getattr(config, "max_position_embeddings", None) or 1 << 30)
        self.max_tokens = min(max_tokens or longest, self._tokenizer.model_max_length, longest)

    @torch.inference_mode()
    def score(self, query: str, texts: Sequence[str]) -> np.ndarray:
        """Return the head's number for each text, float32; the longer part of a pair that is too long is cut."""
        encoded = self._tokenizer(
            [query] * len(texts), list(texts), truncation="longest_first", max_length=self.max_tokens, padding=False
        )
        scores_N = np.zeros(len(texts), np.float32)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        for rows in padded_passes(lengths, _PASS_TOKENS):
            part = {name: [values[row] for row in rows] for name, values in encoded.items()}
            inputs = self._tokenizer.pad(part, padding_side="right", return_tensors="pt").to(self._model.device)
            scores_N[rows] = self._model(**inputs).logits[:, 0].float().cpu().numpy()
        return scores_N
