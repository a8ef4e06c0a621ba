"""Tokenizers that end every text with EOS, also after truncation.

The EOS is the post-processor's work, not the caller's: `tokenizers` makes room for it when it truncates, and whoever
loads the saved tokenizer (transformers, sentence-transformers, a serving engine) gets the same ids. A tokenizer that
is loaded by name and lacks it (Qwen3's does) is given one.
"""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from polyglossa.errors import DataError

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
    return _finish(backend, eos=EOS, pad=PAD, max_tokens=max_tokens)


def load_tokenizer(path: str, *, revision: str | None = None, max_tokens: int | None = None) -> PreTrainedTokenizerFast:
    """Load a tokenizer by name or from a directory, and make it append EOS if it does not.

    Args:
        path: Hugging Face name or local directory.
        revision: commit on the hub.
        max_tokens: longest text, EOS included; None keeps the tokenizer's own limit.

    Raises:
        DataError: it is not a fast tokenizer, or it has no EOS token.
    """
    tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False)
    if not getattr(tokenizer, "is_fast", False):
        raise DataError(f"{path}: its tokenizer has no `tokenizer.json`. Use a model with a fast tokenizer.")
    end = tokenizer.eos_token or tokenizer.sep_token  # BERT ends texts with [SEP]
    if end is None:
        raise DataError(f"{path}: its tokenizer names no EOS token, and the EOS state is the embedding.")
    limit = min(max_tokens or tokenizer.model_max_length, tokenizer.model_max_length)
    return _finish(tokenizer.backend_tokenizer, eos=end, pad=tokenizer.pad_token or end, max_tokens=limit)


def _finish(backend: Tokenizer, *, eos: str, pad: str, max_tokens: int) -> PreTrainedTokenizerFast:
    backend.no_truncation()
    backend.no_padding()
    eos_id = backend.token_to_id(eos)
    probe = backend.encode("a").ids
    if not probe or probe[-1] != eos_id:
        append = processors.TemplateProcessing(
            single=f"$A {eos}", pair=f"$A {eos} $B:1 {eos}:1", special_tokens=[(eos, eos_id)]
        )
        parts = [backend.post_processor, append] if backend.post_processor is not None else [append]
        backend.post_processor = processors.Sequence(parts)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=eos,
        pad_token=pad,
        model_max_length=max_tokens,
        padding_side="right",
        truncation_side="right",
        model_input_names=["input_ids", "attention_mask"],
    )
