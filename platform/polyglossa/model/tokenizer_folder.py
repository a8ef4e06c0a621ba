"""The tokenizer of a model directory or hub name, without the model: neither torch nor a model's code."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedTokenizerFast

from polyglossa.errors import DataError
from polyglossa.model.model_files import join, read_json_file
from polyglossa.model.tokenizer import load_tokenizer

SETTINGS = "config_sentence_transformers.json"
TRANSFORMER = "sentence_bert_config.json"
# What a Transformer module may say without changing a text's tokens or the states that are read.
_PLAIN_TRANSFORMER = {
    "max_seq_length", "do_lower_case", "transformer_task", "modality_config", "module_output_name", "unpad_inputs",
    "tokenizer_name_or_path",
}  # fmt: skip


def load_directory_tokenizer(
    path: str, *, revision: str | None = None, max_tokens: int | None = None
) -> PreTrainedTokenizerFast:
    """Load the tokenizer of a model directory as it is, with the directory's longest text, without the model.

    Args:
        path: directory or hub name.
        revision: commit on the hub.
        max_tokens: a lower limit on texts; None keeps the directory's.

    Raises:
        DataError: there is none, or it is not a fast tokenizer.
    """
    modules = read_json_file(path, "modules.json", revision=revision)
    folder = str(modules[0].get("path") or "") if modules else ""
    transformer = read_transformer(path, folder, revision) if modules else {}
    lower_case = bool(transformer.get("do_lower_case"))
    tokenizer = load_tokenizer(path, revision=revision, subfolder=folder, lower_case=lower_case)
    own = transformer.get("max_seq_length") or tokenizer.model_max_length
    tokenizer.model_max_length = min(max_tokens or own, own)
    return tokenizer


def read_prompts(path: str, *, revision: str | None = None) -> dict[str, str]:
    """Read the prompts that a model pins, by name."""
    return stored_prompts(read_json_file(path, SETTINGS, revision=revision) or {})


def stored_prompts(settings: Mapping[str, Any]) -> dict[str, str]:
    """Take the prompts out of sentence-transformers' settings."""
    return {name: prompt for name, prompt in (settings.get("prompts") or {}).items() if prompt is not None}


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerFast) -> str:
    """Hash of a tokenizer's vocabulary, merges and post-processor; its limit on length is left out."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return hashlib.blake2b(backend.to_str().encode(), digest_size=16).hexdigest()


def read_transformer(path: str, folder: str, revision: str | None) -> dict[str, Any]:
    """Read how a sentence-transformers model runs its backbone.

    Raises:
        DataError: in a way that is not known.
    """
    config = dict(read_json_file(path, join(folder, TRANSFORMER), revision=revision) or {})
    for name, value in config.items():
        if name not in _PLAIN_TRANSFORMER and value:
            raise DataError(f"{path}: {TRANSFORMER} sets {name} = {json.dumps(value)[:80]}, which is not known here.")
    if config.get("transformer_task", "feature-extraction") != "feature-extraction":
        raise DataError(f"{path}: its transformer_task is {config['transformer_task']}, not feature-extraction.")
    if config.get("module_output_name", "token_embeddings") != "token_embeddings":
        raise DataError(f"{path}: its backbone gives {config['module_output_name']}, not token_embeddings.")
    text = (config.get("modality_config") or {}).get("text")
    if text is not None and (text.get("method"), text.get("method_output_name")) != ("forward", "last_hidden_state"):
        raise DataError(f"{path}: its texts go through {text}, not through the backbone's last hidden state.")
    return config
