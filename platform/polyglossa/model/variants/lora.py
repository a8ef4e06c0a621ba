"""Low-rank additions to a backbone's linear layers (LoRA, arXiv 2106.09685), by peft; part of the weights at export."""

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import PreTrainedModel

from polyglossa.model.variants.adaptation import Lora


def attach(backbone: PreTrainedModel, settings: Lora, *, seed: int) -> PreTrainedModel:
    """Add trainable low-rank parts to a backbone and freeze the rest.

    Args:
        backbone: changed in place.
        settings: rank, scale, dropout and layers.
        seed: of the parts' initial weights: the same on every rank.
    """
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # declared an int, and only divided
        lora_dropout=settings.dropout,
        target_modules=list(settings.modules),
    )
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
