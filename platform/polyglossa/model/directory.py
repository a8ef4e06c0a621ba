"""The model directory: what every stage hands on, and what a user downloads.

It loads with stock `AutoModel` / `AutoTokenizer` and with `SentenceTransformer(path)`, and both give the encoder's
vectors. Weights are float32 safetensors; no code in the directory is ever run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3Model,
)
from transformers.utils.logging import disable_progress_bar

from polyglossa.errors import DataError
from polyglossa.model.dense import Dense
from polyglossa.model.description import (
    Attention,
    ModelDescription,
    check_attention,
    describe_backbone,
    set_attention,
)
from polyglossa.model.families import family_of
from polyglossa.model.forward import TextModel
from polyglossa.model.model_files import read_json_file
from polyglossa.model.sentence_modules import SentenceModules, read_modules, write_json_file, write_modules
from polyglossa.model.tokenizer import add_end_token, plain_tokenizer
from polyglossa.model.tokenizer_folder import load_directory_tokenizer
from polyglossa.model.variants.quantize import quantize_weights

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
_PADDED = "padded_forward"
"""Key of `config.json` that says a model's texts are padded, through transformers' own attention."""


def build_model(
    *,
    hidden: int,
    mlp: int,
    layers: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    vocabulary: int,
    max_tokens: int,
    eos: int,
    padding: int,
    seed: int,
) -> Qwen3Model:
    """Build a Qwen3 model with random weights (no LM head), float32, on the CPU.

    Args:
        hidden: width of the residual stream, which is the embedding width.
        mlp: width of the gated MLP.
        layers: number of layers.
        heads: query heads.
        kv_heads: key/value heads.
        head_dim: width of a head.
        vocabulary: rows of the embedding table.
        max_tokens: longest text; sets `max_position_embeddings`.
        eos: id of the EOS token.
        padding: id of the padding token.
        seed: same seed, same weights; the caller's random state is left as it was.
    """
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        max_position_embeddings=max_tokens,
        tie_word_embeddings=True,
        use_sliding_window=False,
        use_cache=False,
        eos_token_id=eos,
        pad_token_id=padding,
        bos_token_id=None,
        attn_implementation="sdpa",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3Model(config).float()


def load_model(
    path: str,
    dtype: str = "float32",
    *,
    device: str = "cpu",
    revision: str | None = None,
    pooling: str | None = None,
    attention: Attention | None = None,
    packed: bool | None = None,
) -> TextModel:
    """Load a model without its head, by Hugging Face name or from a directory, with its pooling and dense layers.

    Encoders lose their dropout and their pooler, which no embedding reads.

    Args:
        path: name or local directory; its weights must be safetensors.
        dtype: `float32`, `bfloat16` or `float64`; `int8` reads float32 and quantises the weights of linear layers.
        device: where the weights go.
        revision: commit on the hub.
        pooling: name of `POOLINGS` that replaces the model's own; dense layers then fall away.
        attention: replaces the model's own.
        packed: whether texts are packed; None takes what the directory says.

    Raises:
        DataError: nothing loadable is there, or something of it is not known.
    """
    modules, config = _read_parts(path, revision, attention, packed)
    backbone = _load_backbone(path, config, modules.backbone_folder, dtype, revision)
    description = _describe(path, type(backbone), config, modules, pooling, attention)
    if not description.causal:
        _silence_dropout(backbone)
    dense = () if pooling else modules.dense
    if dtype == "int8":
        quantize_weights(backbone)
    number = DTYPES["float32" if dtype == "int8" else dtype]
    model = TextModel(backbone, [layer.to(number) for layer in dense], description)
    return model.to(device).eval()


def describe_directory(
    path: str,
    *,
    revision: str | None = None,
    pooling: str | None = None,
    attention: Attention | None = None,
    packed: bool | None = None,
) -> tuple[ModelDescription, PretrainedConfig]:
    """Describe a model without loading its weights; arguments as `load_model` takes them.

    Returns:
        Its description and the backbone's configuration.

    Raises:
        DataError: there is no model, or something of it is not known.
    """
    modules, config = _read_parts(path, revision, attention, packed)
    return _describe(path, AutoModel._model_mapping[type(config)], config, modules, pooling, attention), config


def _read_parts(
    path: str, revision: str | None, attention: Attention | None, packed: bool | None
) -> tuple[SentenceModules, PretrainedConfig]:
    """Read what follows the backbone and the backbone's configuration, with what was asked for set in it."""
    modules = read_modules(path, revision=revision)
    config = _read_config(path, modules.backbone_folder, revision)
    if packed is not None:
        setattr(config, _PADDED, not packed)
    family_of(config, packed=_is_packed(config))
    if attention is not None:
        set_attention(config, attention)
    return modules, config


def _is_packed(config: PretrainedConfig) -> bool:
    return not getattr(config, _PADDED, False)


def _describe(
    path: str,
    kind: type[PreTrainedModel],
    config: PretrainedConfig,
    modules: SentenceModules,
    pooling: str | None,
    attention: Attention | None,
) -> ModelDescription:
    """Describe a backbone with what follows it; a pooling that was asked for replaces dense layers too."""
    chosen = (pooling,) if pooling else modules.pooling
    description = describe_backbone(kind, config, pooling=chosen, packed=_is_packed(config))
    if attention is not None and description.packed:
        check_attention(description, attention)
    return _complete(path, description, modules, () if pooling else modules.dense)


def _complete(
    path: str, backbone: ModelDescription, modules: SentenceModules, dense: Sequence[Dense]
) -> ModelDescription:
    """Add what follows the pooling to a backbone's description."""
    if dense and dense[0].shape.in_features != backbone.pooled_width:
        raise DataError(
            f"{path}: its first dense layer reads states {dense[0].shape.in_features} wide, and the pooling gives "
            f"{backbone.pooled_width}."
        )
    return replace(
        backbone,
        dense=tuple(layer.shape for layer in dense),
        normalise=modules.normalise,
        similarity=modules.similarity,
        prompts=modules.prompts,
        default_prompt=modules.default_prompt,
    )


def load_model_tokenizer(
    path: str, model: TextModel, *, revision: str | None = None, max_tokens: int | None = None
) -> PreTrainedTokenizerFast:
    """Load the tokenizer of a model, with the end token that its pooling needs and within the model's longest text.

    Args:
        path: where the model was loaded from.
        model: the model.
        revision: commit on the hub.
        max_tokens: longest text; None keeps the model's own limit.

    Raises:
        DataError: there is none, or it is not a fast tokenizer.
    """
    declared = read_modules(path, revision=revision).declared
    limit = min(max_tokens or model.description.longest, model.description.longest)
    tokenizer = load_directory_tokenizer(path, revision=revision, max_tokens=limit)
    # A sentence-transformers model's tokenizer is complete: what it does not add, the model does not read.
    return add_end_token(tokenizer) if not declared and model.description.pooling == ("last",) else tokenizer


def _read_config(path: str, folder: str, revision: str | None) -> PretrainedConfig:
    try:
        return AutoConfig.from_pretrained(path, revision=revision, subfolder=folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"{path}: cannot be loaded as a model with safetensors weights ({reason}).") from None


def _load_backbone(
    path: str, config: PretrainedConfig, folder: str, dtype: str, revision: str | None
) -> PreTrainedModel:
    disable_progress_bar()  # transformers' own bars would break into ours
    try:
        backbone, loaded = AutoModel.from_pretrained(
            path,
            config=config,
            revision=revision,
            subfolder=folder,
            dtype=DTYPES["float32" if dtype == "int8" else dtype],
            attn_implementation="eager" if _is_packed(config) else None,  # replaced by packed attention
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"{path}: cannot be loaded as a model with safetensors weights ({reason}).") from None
    _check_loaded(path, loaded)
    model: PreTrainedModel = backbone
    return model


def _check_loaded(path: str, loaded: Mapping[str, Any]) -> None:
    """Refuse weights that transformers would have drawn at random in place of the model's own."""
    odd = [str(key[0]) for key in loaded["mismatched_keys"]]
    odd += [str(key) for key in loaded["missing_keys"] if not str(key).startswith("pooler.")]
    if odd:
        raise DataError(
            f"{path}: its weights are not those of its configuration; {len(odd)} are missing or of another shape, "
            f"{sorted(odd)[0]} among them."
        )


def _silence_dropout(backbone: PreTrainedModel) -> None:
    """Take off what plays no part in a text's state: the pooler, and dropout, which every family spells otherwise."""
    if hasattr(backbone, "pooler"):
        backbone.pooler = None
    for name, value in backbone.config.to_dict().items():
        if "dropout" in name and isinstance(value, float):
            setattr(backbone.config, name, 0.0)
    for module in backbone.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0


def save_model_directory(
    path: str,
    model: TextModel,
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_tokens: int,
    matryoshka_widths: Sequence[int],
) -> None:
    """Write a model directory.

    Args:
        path: local directory; made if it is not there.
        model: without LM head; written in float32 whatever its dtype is.
        tokenizer: as `load_model_tokenizer` gives it.
        max_tokens: longest text that readers pass in, special tokens included.
        matryoshka_widths: widths that vectors may be cut to.
    """
    disable_progress_bar()
    root = Path(path)
    root.mkdir(parents=True, exist_ok=True)
    backbone, config = model.backbone, model.backbone.config
    config.is_matryoshka = len(matryoshka_widths) > 1
    config.matryoshka_dimensions = sorted(matryoshka_widths)
    state = {name: tensor.detach().float().cpu().contiguous() for name, tensor in backbone.state_dict().items()}
    backbone.save_pretrained(root, state_dict=state)
    written = read_json_file(path, "config.json")
    written |= {"dtype": "float32", "architectures": [type(backbone).__name__]}
    write_json_file(root / "config.json", written)
    plain_tokenizer(tokenizer, max_tokens=max_tokens).save_pretrained(root)
    # Transformers 5 writes a class that transformers 4, and servers on it, do not know; both know this one.
    settings = read_json_file(path, "tokenizer_config.json") | {"tokenizer_class": "PreTrainedTokenizerFast"}
    write_json_file(root / "tokenizer_config.json", settings)
    write_modules(root, model.description, model.layers_behind, max_tokens=max_tokens)
