"""Averages of weights, from model directories to a model directory: weighted means, and mergekit's spherical ones.

Memory does not grow with the number of models. The result is written as every model directory is, with the tokenizer,
prompts and limits of the first model.
"""

import tempfile
from collections.abc import Sequence
from typing import Any

from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from transformers import AutoConfig, PreTrainedModel

from polyglossa.errors import UserError
from polyglossa.model.dense import Dense
from polyglossa.model.description import describe_like
from polyglossa.model.directory import load_model, save_model_directory
from polyglossa.model.encoder import Encoder
from polyglossa.model.forward import TextModel
from polyglossa.model.sentence_modules import read_modules
from polyglossa.model.tokenizer import load_tokenizer
from polyglossa.model.tokenizer_folder import tokenizer_fingerprint

_SHAPE = (
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
)


def average(method: str, folders: Sequence[str], weights: Sequence[float]) -> Encoder:
    """Average models.

    Args:
        method: "linear" (Σ wᵢ θᵢ), or "slerp": on the sphere, tensor by tensor, for two models or more.
        folders: local model directories.
        weights: share of each, in order; scaled to sum to 1.

    Raises:
        UserError: fewer than two models, a share too many or too few, one named twice, or models that do not
            fit each other.
    """
    if len(folders) < 2 or len(weights) != len(folders):
        raise UserError(f"merge: got {len(folders)} models and {len(weights)} weights; give two or more and one each.")
    if len(set(folders)) < len(folders):
        raise UserError("merge: a model is named twice; give it one greater weight instead.")
    for folder in folders[1:]:
        _check_fits(folders[0], folder)
    shares = [weight / sum(weights) for weight in weights]
    backbone = _mean_backbone(folders, shares) if method == "linear" else _on_the_sphere(method, folders, shares)
    first = Encoder.load(folders[0])
    description = describe_like(first.description, type(backbone), backbone.config)
    model = TextModel(backbone, _average_dense(method, folders, shares), description)
    return Encoder(model, first.tokenizer, max_tokens=first.max_tokens)


def _mean_backbone(folders: Sequence[str], shares: Sequence[float]) -> PreTrainedModel:
    """Weigh and add backbones one after another: two are held at a time, whatever their architecture.

    mergekit 0.1.5 plans tensors of decoders alone: of BERT it fails on the aliases of their names.
    """
    backbone = load_model(folders[0]).backbone
    total = {name: shares[0] * tensor for name, tensor in backbone.state_dict().items() if tensor.is_floating_point()}
    for folder, share in zip(folders[1:], shares[1:], strict=True):
        state = load_model(folder).backbone.state_dict()
        for name, tensor in total.items():
            tensor.add_(state[name], alpha=share)
    backbone.load_state_dict(total, strict=False)
    return backbone


def _on_the_sphere(method: str, folders: Sequence[str], shares: Sequence[float]) -> PreTrainedModel:
    with tempfile.TemporaryDirectory() as merged:
        configuration = MergeConfiguration.model_validate(_configuration(method, folders, shares))
        run_merge(configuration, merged, MergeOptions(quiet=True, write_model_card=False, copy_tokenizer=False))
        return load_model(merged).backbone


def _average_dense(method: str, folders: Sequence[str], shares: Sequence[float]) -> list[Dense]:
    """Average the dense layers behind the pooling, which mergekit does not know."""
    models = [read_modules(folder).dense for folder in folders]
    if not models[0]:
        return []
    if method != "linear":
        raise UserError(f"merge: the models have dense layers behind their pooling, and {method} does not know them.")
    averages = []
    for layers in zip(*models, strict=True):
        states = [layer.state_dict() for layer in layers]
        mean = {
            name: sum(share * state[name].double() for share, state in zip(shares, states, strict=True)).float()
            for name in states[0]
        }
        layers[0].load_state_dict(mean)
        averages.append(layers[0])
    return averages


def save(encoder: Encoder, folder: str) -> None:
    """Write a model directory; its Matryoshka widths are those of the config it was read with."""
    config = encoder.backbone.config
    save_model_directory(
        folder,
        encoder.model,
        encoder.tokenizer,
        max_tokens=encoder.max_tokens,
        matryoshka_widths=getattr(config, "matryoshka_dimensions", None) or [encoder.width],
    )


def _configuration(method: str, folders: Sequence[str], shares: Sequence[float]) -> dict[str, Any]:
    models = [{"model": folder, "parameters": {"weight": share}} for folder, share in zip(folders, shares, strict=True)]
    if len(folders) > 2:
        return {"merge_method": "multislerp", "dtype": "float32", "models": models}
    return {
        "merge_method": "slerp",
        "dtype": "float32",
        "base_model": folders[0],
        "models": [{"model": folder} for folder in folders],
        "parameters": {"t": shares[1]},
    }


def _check_fits(first: str, other: str) -> None:
    configs = [AutoConfig.from_pretrained(folder) for folder in (first, other)]
    for field in _SHAPE:
        ours, theirs = (getattr(config, field, None) for config in configs)
        if ours != theirs:
            raise UserError(f"merge: {other} has {field} {theirs}, {first} has {ours}; only equal shapes average.")
    if len({tokenizer_fingerprint(load_tokenizer(folder)) for folder in (first, other)}) > 1:
        raise UserError(f"merge: {other} and {first} have different tokenizers, so rows of their tables do not match.")
