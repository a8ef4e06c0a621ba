"""Tokenizers of model directories on any storage."""

from typing import TYPE_CHECKING

from polyglossa.storage import local_folder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def load_stored_tokenizer(model_uri: str, *, max_tokens: int | None = None) -> "PreTrainedTokenizerFast":
    """Load the tokenizer of a model directory; of one in a bucket all but the weights is fetched.

    Args:
        model_uri: the directory.
        max_tokens: longest text, EOS included; None keeps the tokenizer's own limit.

    Raises:
        DataError: there is none, or it is not a fast tokenizer.
    """
    from polyglossa.model.tokenizer_folder import load_directory_tokenizer  # transformers

    with local_folder(model_uri, weights=False) as folder:
        return load_directory_tokenizer(folder, max_tokens=max_tokens)
