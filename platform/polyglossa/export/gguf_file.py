"""Write a member as GGUF, what llama.cpp and the programs on it read, and read it back. Through the official package.

Architectures are those whose tensors llama.cpp takes as they are: BERT, Qwen2, Qwen3. What it has no place for (dense
layers, windows, other poolings) is refused by name.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from polyglossa.errors import DataError
from polyglossa.export.gguf_tokenizer import GgufTokenizer, read_gguf_tokenizer
from polyglossa.model.description import ModelDescription
from polyglossa.model.encoder import Encoder
from polyglossa.model.forward import TextModel

GgufWeights = Literal["F16", "Q8_0"]
_ARCHITECTURES = {"bert": "BERT", "qwen2": "QWEN2", "qwen3": "QWEN3"}
"""`model_type` → name in `gguf.MODEL_ARCH`."""
_POOLINGS = {"mean": "MEAN", "cls": "CLS", "last": "LAST"}
_FILE_TYPES = {"F16": "MOSTLY_F16", "Q8_0": "MOSTLY_Q8_0"}
_WHOLE = ("position_embd.weight", "token_types.weight")
"""Matrices that llama.cpp adds up and never multiplies: they stay in float32."""
_LARGEST_HALF = 65504.0


@dataclass(frozen=True)
class GgufContent:
    """What a GGUF file holds, read back."""

    architecture: str
    fields: Mapping[str, Any]
    tokens: list[str]
    tensors: Mapping[str, torch.Tensor]
    """float32, by GGUF's names."""


def check_gguf(description: ModelDescription) -> None:
    """Refuse a model with a part that GGUF, or llama.cpp on it, does not have.

    Raises:
        DataError: that names the part.
    """
    if description.family not in _ARCHITECTURES or not description.packed:
        known = ", ".join(_ARCHITECTURES)
        raise DataError(f"gguf: {description.family} is not written; known are {known}.")
    if description.dense:
        raise DataError(f"gguf: has no place for dense layers behind the pooling ({description.answer()['dense'][0]}).")
    windows = description.answer()["windows"]
    if windows:
        raise DataError(f"gguf: attention windows ({windows[0]} tokens) are not written for {description.family}.")
    if description.answer()["soft_cap"] is not None:
        raise DataError("gguf: soft-capped attention is not written.")
    if len(description.pooling) != 1 or description.pooling[0] not in _POOLINGS:
        raise DataError(f"gguf: has no pooling {'+'.join(description.pooling)}; it has {', '.join(_POOLINGS)}.")
    if (description.family == "bert") == description.causal:
        raise DataError(f"gguf: {description.family} attends {description.answer()['attention']} here, not there.")


def write_gguf(encoder: Encoder, file: Path, *, name: str, weights: GgufWeights = "F16") -> list[str]:
    """Write a GGUF file.

    Args:
        encoder: float32.
        file: where it goes.
        name: of the model.
        weights: of matrices; vectors stay in float32.

    Returns:
        What a user of the file has to know.

    Raises:
        DataError: the model has a part that GGUF lacks.
    """
    import gguf

    check_gguf(encoder.description)
    tokenizer = read_gguf_tokenizer(encoder.tokenizer, int(encoder.backbone.config.vocab_size))
    architecture = _architecture(encoder.description)
    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[architecture])
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType[_FILE_TYPES[weights]])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _describe(writer, encoder)
    _add_tokenizer(writer, tokenizer)
    for place, tensor in _named(encoder.model).items():
        data, kind = _encode(place, tensor, weights)
        writer.add_tensor(place, data, raw_dtype=kind)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
    return tokenizer.notes


def read_gguf(file: Path) -> GgufContent:
    """Read a GGUF file back, its weights widened to float32."""
    import gguf

    reader = gguf.GGUFReader(file)
    fields = {key: field.contents() for key, field in reader.fields.items()}
    tensors = {
        tensor.name: torch.from_numpy(np.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type), np.float32))
        for tensor in reader.tensors
    }
    return GgufContent(fields["general.architecture"], fields, fields["tokenizer.ggml.tokens"], tensors)


def read_back(file: Path, encoder: Encoder) -> Encoder:
    """Make an encoder of what a GGUF file holds.

    Args:
        file: the file.
        encoder: what it was written from; gives the architecture, nothing that the file says.

    Raises:
        DataError: the file says something else than the encoder.
    """
    content = read_gguf(file)
    expected = read_gguf_tokenizer(encoder.tokenizer, int(encoder.backbone.config.vocab_size))
    if content.tokens != expected.tokens:
        raise DataError(f"{file.name}: its tokens are not the tokenizer's.")
    known = content.architecture
    for key, value in _shape(encoder).items():
        if content.fields.get(f"{known}.{key}") != value:
            found = content.fields.get(f"{known}.{key}")
            raise DataError(f"{file.name}: {known}.{key} reads {found}, and {value} was written.")
    model = copy.deepcopy(encoder.model)
    own = dict(zip(_named(model), _weights(model), strict=True))
    if set(own) != set(content.tensors):
        odd = sorted(set(own) ^ set(content.tensors))
        raise DataError(f"{file.name}: its tensors are not the model's ({odd[0]} among {len(odd)}).")
    state = {own[place]: tensor.reshape(_weights(model)[own[place]].shape) for place, tensor in content.tensors.items()}
    model.backbone.load_state_dict(state, strict=False)
    return Encoder(model, encoder.tokenizer, max_tokens=encoder.max_tokens)


def _architecture(description: ModelDescription) -> Any:
    import gguf

    return gguf.MODEL_ARCH[_ARCHITECTURES[description.family]]


def _weights(model: TextModel) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in model.backbone.state_dict().items() if tensor.is_floating_point()}


def _named(model: TextModel) -> dict[str, torch.Tensor]:
    """Weights by GGUF's names, in the order of the model."""
    import gguf

    config = model.backbone.config
    names = gguf.get_tensor_name_map(_architecture(model.description), int(config.num_hidden_layers))
    found: dict[str, torch.Tensor] = {}
    for name, tensor in _weights(model).items():
        place = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if place is None:
            raise DataError(f"gguf: has no place for {name}.")
        found[place] = tensor.detach().float().cpu()
    return found


def _shape(encoder: Encoder) -> dict[str, Any]:
    """What the metadata say of the architecture, by GGUF's keys."""
    import gguf

    config, description = encoder.backbone.config, encoder.description
    shape: dict[str, Any] = {
        "block_count": int(config.num_hidden_layers),
        "context_length": int(encoder.max_tokens),
        "embedding_length": int(config.hidden_size),
        "feed_forward_length": int(config.intermediate_size),
        "attention.head_count": int(config.num_attention_heads),
        "attention.causal": description.causal,
        "pooling_type": int(gguf.PoolingType[_POOLINGS[description.pooling[0]]]),
    }
    if description.family == "bert":
        return shape
    head = int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
    return shape | {
        "attention.head_count_kv": int(config.num_key_value_heads),
        "attention.key_length": head,
        "attention.value_length": head,
    }


def _describe(writer: Any, encoder: Encoder) -> None:
    config, shape = encoder.backbone.config, _shape(encoder)
    writer.add_block_count(shape["block_count"])
    writer.add_context_length(shape["context_length"])
    writer.add_embedding_length(shape["embedding_length"])
    writer.add_feed_forward_length(shape["feed_forward_length"])
    writer.add_head_count(shape["attention.head_count"])
    writer.add_causal_attention(shape["attention.causal"])
    writer.add_uint32(f"{writer.arch}.pooling_type", shape["pooling_type"])
    prompts = dict(encoder.description.prompts)
    if prompts:
        writer.add_string("polyglossa.prompts", json.dumps(prompts, ensure_ascii=False))
    if encoder.description.family == "bert":
        writer.add_layer_norm_eps(float(config.layer_norm_eps))
        return
    writer.add_head_count_kv(shape["attention.head_count_kv"])
    writer.add_key_length(shape["attention.key_length"])
    writer.add_value_length(shape["attention.value_length"])
    writer.add_layer_norm_rms_eps(float(config.rms_norm_eps))
    writer.add_rope_freq_base(_rope_base(config))


def _rope_base(config: Any) -> float:
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type", "default") != "default":
        raise DataError(f"gguf: stretched positions ({rope['rope_type']}) are not written.")
    return float(rope.get("rope_theta") or config.rope_theta)


def _add_tokenizer(writer: Any, tokenizer: GgufTokenizer) -> None:
    writer.add_tokenizer_model(tokenizer.model)
    writer.add_tokenizer_pre(tokenizer.split)
    writer.add_token_list(tokenizer.tokens)
    writer.add_token_types(tokenizer.kinds)
    if tokenizer.model == "bert":
        writer.add_token_type_count(2)
    if tokenizer.merges:
        writer.add_token_merges(tokenizer.merges)
    writer.add_add_bos_token(tokenizer.before is not None)
    writer.add_add_eos_token(tokenizer.behind is not None)
    ids = {
        writer.add_bos_token_id: tokenizer.before,
        writer.add_eos_token_id: tokenizer.behind,
        writer.add_sep_token_id: tokenizer.behind if tokenizer.model == "bert" else None,
        writer.add_pad_token_id: tokenizer.padding,
        writer.add_unk_token_id: tokenizer.unknown,
    }
    for add, index in ids.items():
        if index is not None:
            add(index)


def _encode(place: str, tensor: torch.Tensor, weights: GgufWeights) -> tuple[np.ndarray, Any]:
    import gguf

    data = tensor.numpy()
    if data.ndim < 2 or place in _WHOLE:
        return data, gguf.GGMLQuantizationType.F32
    if weights == "Q8_0" and data.shape[-1] % gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType.Q8_0][0] == 0:
        kind = gguf.GGMLQuantizationType.Q8_0
        return gguf.quants.quantize(data, kind), kind
    if float(np.abs(data).max()) > _LARGEST_HALF:
        raise DataError(f"gguf: {place} holds values beyond {_LARGEST_HALF:.0f}, the largest of float16.")
    return data.astype(np.float16), gguf.GGMLQuantizationType.F16
