"""Tokenizers as their models have them, with an end token where the embedding is the last token's and there is none.

Special tokens are the post-processor's work, not the caller's: `tokenizers` makes room for them when it truncates, and
whoever loads the saved tokenizer (transformers, sentence-transformers, a serving engine) gets the same ids. An end
token is added to a tokenizer that adds no special token at all (Qwen3's), never behind a post-processor that does.
"""

from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from polyglossa.errors import DataError
from polyglossa.model.model_files import join, read_json_file

_PLAIN_CLASS = "PreTrainedTokenizerFast"
EOS = "<|endoftext|>"
PAD = "<|pad|>"


def train_tokenizer(texts: Iterable[str], *, vocabulary: int, max_tokens: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer; any text can be written with it.

    A space is put before every text, so that a name is the same tokens alone (a document) and behind an instruction
    (a query): without it the first word of the two differs, and a small model has to learn it twice.

    Args:
        texts: training texts.
        vocabulary: rows of the table, the two special tokens and the 256 bytes included; small data may give fewer.
        max_tokens: longest text, EOS included.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer=trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=max_tokens,
        padding_side="right",
        truncation_side="right",
        model_input_names=["input_ids", "attention_mask"],
    )
    return add_end_token(tokenizer)


def load_tokenizer(
    path: str,
    *,
    revision: str | None = None,
    subfolder: str = "",
    lower_case: bool = False,
) -> PreTrainedTokenizerFast:
    """Load a tokenizer by name or from a directory, as it is.

    Args:
        path: Hugging Face name or local directory.
        revision: commit on the hub.
        subfolder: where in the model it lies.
        lower_case: whether texts are lower-cased first.

    Raises:
        DataError: there is none, or it is not a fast tokenizer.
    """
    try:
        tokenizer = _tokenizer_class(path, subfolder, revision).from_pretrained(
            path, revision=revision, subfolder=subfolder, trust_remote_code=False
        )
    except Exception as error:  # tokenizers' Rust code raises plain exceptions, and odd files any other
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"{path}: its tokenizer cannot be loaded ({reason}).") from None
    if not getattr(tokenizer, "is_fast", False):
        raise DataError(f"{path}: its tokenizer has no `tokenizer.json`. Use a model with a fast tokenizer.")
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    if lower_case:
        own = backend.normalizer
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([own] if own is not None else [])])
    return tokenizer


def _tokenizer_class(path: str, subfolder: str, revision: str | None) -> Any:
    """Choose the class that reads a tokenizer.

    Of a directory that was made here all is in `tokenizer.json`, as its settings say. `AutoTokenizer` reads it with the
    same class, and loads torch and every model's configuration to find out, which takes two seconds of each process.
    """
    settings = read_json_file(path, join(subfolder, "tokenizer_config.json"), revision=revision) or {}
    config = read_json_file(path, join(subfolder, "config.json"), revision=revision) or {}
    if (settings.get("tokenizer_class"), config.get("model_type")) == (_PLAIN_CLASS, "qwen3"):
        return PreTrainedTokenizerFast
    from transformers import AutoTokenizer

    return AutoTokenizer


def adds_special_tokens(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether encoding a text puts a special token before or behind it."""
    return any(tokenizer.backend_tokenizer.encode("a").special_tokens_mask)


def add_end_token(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Make a tokenizer that adds no special token end every text with EOS, also after truncation, in place.

    Raises:
        DataError: it names no EOS token.
    """
    if adds_special_tokens(tokenizer):
        return tokenizer
    end = tokenizer.eos_token or tokenizer.sep_token
    if end is None:
        raise DataError("the tokenizer names no EOS token, and the EOS state is the embedding.")
    backend = tokenizer.backend_tokenizer
    append = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B:1 {end}:1", special_tokens=[(end, backend.token_to_id(end))]
    )
    # What stands there adds no token (it trims offsets), and a template leaves alone what it passes on.
    parts = [backend.post_processor, append] if backend.post_processor is not None else [append]
    backend.post_processor = processors.Sequence(parts)
    return tokenizer


def plain_tokenizer(
    tokenizer: PreTrainedTokenizerFast, *, max_tokens: int, backend: Tokenizer | None = None
) -> PreTrainedTokenizerFast:
    """Return the same tokenizer under the class that every release of transformers reads: all is in `tokenizer.json`.

    Args:
        tokenizer: any fast tokenizer.
        max_tokens: longest text, special tokens included.
        backend: takes the place of the tokenizer's own (another vocabulary).
    """
    names = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
    special = {name: token for name in names if (token := getattr(tokenizer, name, None)) is not None}
    # Padding is never attended to; a tokenizer without a padding token fills with its end token.
    special.setdefault("pad_token", special.get("eos_token") or special.get("sep_token") or special.get("unk_token"))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend or tokenizer.backend_tokenizer,
        **{name: token for name, token in special.items() if token is not None},
        model_max_length=max_tokens,
        padding_side="right",
        truncation_side=tokenizer.truncation_side,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )
