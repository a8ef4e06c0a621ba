"""Low-rank additions to a backbone's linear layers (LoRA, arXiv 2106.09685), by peft.

At export they become part of the weights, and lie beside them as an adapter, which may be put on a model of the same
weights: several on one, a task each.
"""

import copy
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from polyglossa.errors import DataError
from polyglossa.model.adapter_files import WEIGHTS
from polyglossa.model.variants.adaptation import Lora

_PREFIX = "base_model.model."


def attach(backbone: PreTrainedModel, settings: Lora, *, seed: int) -> PreTrainedModel:
    """Add trainable low-rank parts to a backbone and freeze the rest.

    Args:
        backbone: changed in place.
        settings: rank, scale, dropout and layers.
        seed: of the parts' initial weights: the same on every rank.
    """
    config = _config(settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = inject_adapter_in_model(config, backbone)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
    return model


def merge(backbone: PreTrainedModel) -> PreTrainedModel:
    """Fold the parts into the weights; the backbone is as it was before `attach`, with other weights."""
    layers = [(name, module) for name, module in backbone.named_modules() if isinstance(module, BaseTunerLayer)]
    for name, layer in layers:
        layer.merge()
        parent, _, child = name.rpartition(".")
        setattr(backbone.get_submodule(parent), child, layer.get_base_layer())
    return backbone


def save_adapter(backbone: PreTrainedModel, settings: Lora, folder: str) -> None:
    """Write the parts of a backbone as an adapter in peft's form.

    Args:
        backbone: as `attach` left it, trained or not.
        settings: that it was given.
        folder: is made.
    """
    weights = {
        _PREFIX + name.replace(".default.", "."): parameter.detach().float().cpu().contiguous()
        for name, parameter in backbone.named_parameters()
        if "lora_" in name
    }
    Path(folder).mkdir(parents=True, exist_ok=True)
    save_file(weights, Path(folder, WEIGHTS), metadata={"format": "pt"})
    config = _config(settings)
    config.inference_mode, config.task_type = True, "FEATURE_EXTRACTION"
    config.save_pretrained(folder)


def with_adapter(backbone: PreTrainedModel, folder: str) -> PreTrainedModel:
    """Return a second backbone of the same weights, held once, and an adapter's parts.

    Args:
        backbone: stays as it is.
        folder: of the adapter, in peft's form.

    Raises:
        DataError: it is no LoRA adapter, or not one of this model.
    """
    try:
        config = PeftConfig.from_pretrained(folder)
        found = load_file(Path(folder, WEIGHTS))
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise DataError(f"{folder}: no adapter in peft's form ({' '.join(str(error).split())[:200]}).") from None
    if not isinstance(config, LoraConfig):
        raise DataError(f"{folder}: a {config.peft_type} adapter; LoRA is what is read.")
    held = {id(tensor): tensor for tensor in (*backbone.parameters(), *backbone.buffers())}
    second: PreTrainedModel = copy.deepcopy(backbone, held)  # modules are copied, their tensors are not
    try:
        inject_adapter_in_model(config, second)
        told: Any = set_peft_model_state_dict(second, found, adapter_name="default")
    except (ValueError, RuntimeError) as error:
        raise DataError(f"{folder}: no adapter of this model ({' '.join(str(error).split())[:200]}).") from None
    lacking = [name for name in told.missing_keys if "lora_" in name]
    if lacking or told.unexpected_keys:
        odd = (lacking or list(told.unexpected_keys))[0]
        raise DataError(f"{folder}: no adapter of this model ({odd} is on one side alone).")
    dtype = next(backbone.parameters()).dtype
    for name, parameter in second.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.to(dtype)
    return second.eval()


def _config(settings: Lora) -> LoraConfig:
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # declared an int, and only divided
        lora_dropout=settings.dropout,
        target_modules=list(settings.modules),
    )
