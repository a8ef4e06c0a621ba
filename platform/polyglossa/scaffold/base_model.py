"""Look at the model that a fine-tuning starts from: a directory or a hub name; how large it is, what it reads.

Weights are never loaded: sizes come from the headers of safetensors files.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from polyglossa.costing.named_models import is_block_matrix, is_path, tensor_shapes
from polyglossa.errors import UserError

DEFAULT_MODEL = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
"""Small (118 M parameters), 50 languages, no prompts."""
_UNREADABLE = 0.02
"""Share of a language's tokens that the model knows nothing of, from which it is said."""
_MANY_TOKENS = 0.8
"""Tokens a character of a script with spaces, from which words are spelled letter by letter."""


@dataclass(frozen=True)
class BaseModel:
    """What is known of a model without its weights."""

    name: str
    """As it was given: shown in tables."""
    path: str
    """What the recipe's `backbone.model` holds: an absolute directory, or the hub name."""
    folder: Path
    """Where its files lie."""
    parameters: int
    width: int
    layers: int
    mlp: int
    longest: int
    """Longest text (tokens)."""
    languages: tuple[str, ...]
    """As its card names them; none where it says nothing."""
    prompts: Mapping[str, str]
    matryoshka: tuple[int, ...]
    """Widths that its configuration declares."""
    table: int = 0
    """Parameters of the embedding table."""
    linear_layers: tuple[str, ...] = ()
    """Names of the linear layers of its blocks."""

    @property
    def short_name(self) -> str:
        """The name's last part."""
        return self.name.rstrip("/").rpartition("/")[2]

    @property
    def is_english(self) -> bool:
        """Whether its card names English alone."""
        return bool(self.languages) and set(self.languages) <= {"en", "eng", "english"}


def find_model(name: str) -> BaseModel:
    """Find a model in a directory or on the hub.

    Raises:
        UserError: neither is there, or nothing can be fetched.
        DataError: what is there cannot be read as a model.
    """
    folder = Path(name)
    if folder.is_dir():
        return describe_model(name, str(folder.resolve()), folder.resolve())
    if is_path(name):
        raise UserError(f"--model {name}: no such directory. Give one that holds config.json or modules.json.")
    return describe_model(name, name, _fetched(name))


def _fetched(name: str) -> Path:
    """Fetch a model from the hub, or take it from the cache.

    Raises:
        UserError: it cannot be had.
    """
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.safetensors", "*.txt", "*.model", "README.md"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted, etag_timeout=10))
    except Exception as error:  # the hub's client raises its own errors, httpx's and the system's
        first = " ".join(str(error).split())[:120]
        raise UserError(
            f"--model {name}: is no directory here and cannot be fetched ({type(error).__name__}: {first}). Where "
            f"there is a network: `hf download {name} --local-dir FOLDER`; then give `--model FOLDER`."
        ) from None


def describe_model(name: str, path: str, folder: Path) -> BaseModel:
    """Describe the model in a directory.

    Raises:
        UserError: it has no safetensors weights.
        DataError: what is there cannot be read as a model.
    """
    from polyglossa.model.directory import describe_directory
    from polyglossa.model.tokenizer_folder import load_directory_tokenizer

    description, config = describe_directory(str(folder))
    tokenizer = load_directory_tokenizer(str(folder))
    shapes = tensor_shapes(folder)
    if not shapes:
        raise UserError(f"--model {name}: {folder} holds no safetensors weights; save the model in that format.")
    return BaseModel(
        name=name,
        path=path,
        folder=folder,
        parameters=sum(map(math.prod, shapes.values())),
        width=description.width,
        layers=int(config.num_hidden_layers),
        mlp=int(getattr(config, "intermediate_size", 4 * description.hidden)),
        longest=int(min(tokenizer.model_max_length, description.longest)),
        languages=_languages(folder / "README.md"),
        prompts={key: value for key, value in description.prompts.items() if value},
        matryoshka=tuple(getattr(config, "matryoshka_dimensions", None) or ()),
        table=max(map(math.prod, shapes.values())),
        linear_layers=tuple(sorted({_layer_of(key) for key, shape in shapes.items() if is_block_matrix(key, shape)})),
    )


def _layer_of(key: str) -> str:
    return key.removesuffix(".weight").rpartition(".")[2]


def _languages(card: Path) -> tuple[str, ...]:
    """Languages in the front matter of a model card."""
    if not card.exists():
        return ()
    text = card.read_text(encoding="utf-8", errors="replace")
    head = text.split("---")[1] if text.startswith("---") and text.count("---") > 1 else ""
    try:
        told: Any = yaml.safe_load(head) or {}
    except yaml.YAMLError:
        return ()
    said = told.get("language") if isinstance(told, dict) else None
    return tuple(str(one).lower() for one in (said if isinstance(said, list) else [said]) if one)


def warnings_for(model: BaseModel, texts: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Say which languages of some texts the model does not know, by its tokenizer and its card.

    Args:
        model: the model.
        texts: a sample of texts by language (ISO 639-3).
    """
    from polyglossa.corpus.clean.language import UNDETERMINED, canonical
    from polyglossa.model.tokenizer_folder import load_directory_tokenizer

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    tokenizer = load_directory_tokenizer(str(model.folder))
    card = {canonical(code)[0] for code in model.languages if code not in ("multilingual", "mul")}
    for language, sample in texts.items():
        joined = [text[:500] for text in sample if text][:200]
        ids = [token for text in joined for token in tokenizer(text, add_special_tokens=False, verbose=False).input_ids]
        unknown = sum(token == tokenizer.unk_token_id for token in ids) / max(1, len(ids))
        rate = len(ids) / max(1, sum(map(len, joined)))
        unsaid = card and "multilingual" not in model.languages and language not in card and language != UNDETERMINED
        if unknown > _UNREADABLE or (rate > _MANY_TOKENS and unsaid):
            yield (
                f"{model.short_name} has hardly seen {language}: {unknown:.0%} of its tokens are unknown to it, "
                f"{rate:.2f} tokens a character{', and its card names ' + ', '.join(sorted(card)) if unsaid else ''}. "
                f"A multilingual model would start further on: --model {DEFAULT_MODEL}"
            )
        elif unsaid:
            yield f"{model.short_name}'s card does not name {language} (it names {', '.join(sorted(card))})."
