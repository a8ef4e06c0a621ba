"""A model as one graph over padded texts: ids and mask → token states → pooling → dense layers → unit length.

What other programs run. Attention is written out in plain matrix products, with the window and soft cap of each layer,
so that a tracer sees neither kernels nor Python decisions; padding may lie on either side.

B = texts, L = longest of them, D = width of the backbone, S = width of a state, H = heads, K = key/value heads,
E = head dimension.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from polyglossa.errors import DataError
from polyglossa.model.attention.layers import layer_attention, unknown_arguments
from polyglossa.model.forward import TextModel

ATTENTION = "polyglossa_padded"


class PaddedGraph(nn.Module):
    """A text model over padded texts. Takes the model over: it attends padded from now on.

    Raises:
        DataError: the model runs through transformers' own attention, which is not written out here.
    """

    def __init__(self, model: TextModel) -> None:
        super().__init__()
        if not model.description.packed:
            raise DataError(
                f"{model.description.family}: its attention is transformers' own (padded_forward), which is not "
                "exported; models of the packed families are."
            )
        self.model = model
        model.backbone.config._attn_implementation = ATTENTION

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return token states [B, L, D], vectors of unit length [B, S] and raw states [B, S]."""
        description = self.model.description
        place_BL = (attention_mask.cumsum(1) - 1).clamp(min=0)
        hidden_BLD = self.model.backbone(
            input_ids=input_ids,
            position_ids=place_BL + description.first_position,
            use_cache=False,
            key_mask=attention_mask.bool(),
        ).last_hidden_state
        state_BS = torch.cat([POOLINGS[name](hidden_BLD, attention_mask) for name in description.pooling], 1)
        for dense in self.model.layers_behind:
            state_BS = dense(state_BS)
        vector_BS = nn.functional.normalize(state_BS, dim=-1) if description.normalise else state_BS
        # Not the same tensor twice: the two outputs keep names of their own.
        return hidden_BLD, vector_BS, state_BS + 0.0


def padded_attention(
    module: nn.Module,
    query_BHLE: Tensor,
    key_BKLE: Tensor,
    value_BKLE: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    key_mask: Tensor,
    **arguments: Any,
) -> tuple[Tensor, None]:
    """Attend within each padded text, as the module's layer does; the signature is transformers'.

    Args:
        module: attention module of a model that went through `use_packed_attention`.
        query_BHLE: queries.
        key_BKLE: keys.
        value_BKLE: values.
        attention_mask: not used.
        scaling: factor of the scores; None means 1/√E.
        dropout: not used; a graph is for inference.
        key_mask: which tokens are no padding [B, L].
        arguments: what else the architecture hands on; known to change nothing, or refused.

    Raises:
        ValueError: an argument that this attention does not know.
    """
    if unknown := unknown_arguments(arguments):
        raise ValueError(f"{type(module).__name__}: attention argument {unknown[0]!r} is not known.")
    layer = layer_attention(module)
    scale = query_BHLE.shape[-1] ** -0.5 if scaling is None else scaling
    shared = int(query_BHLE.shape[1]) // int(key_BKLE.shape[1])
    if shared > 1:
        key_BKLE, value_BKLE = (tensor.repeat_interleave(shared, 1) for tensor in (key_BKLE, value_BKLE))
    score_BHLL = query_BHLE @ key_BKLE.transpose(-1, -2) * scale
    if layer.soft_cap is not None:
        score_BHLL = torch.tanh(score_BHLL / layer.soft_cap) * layer.soft_cap
    seen = key_mask[:, None, None, :]
    if layer.before is not None or layer.behind is not None:
        place_L = torch.arange(query_BHLE.shape[2], device=query_BHLE.device)
        distance_LL = place_L[:, None] - place_L
        if layer.before is not None:
            seen = seen & (distance_LL <= layer.before)
        if layer.behind is not None:
            seen = seen & (distance_LL >= -layer.behind)
    # The least finite number and not −∞: a padding token may see nothing, and NaN would spread.
    score_BHLL = score_BHLL.masked_fill(~seen, torch.finfo(score_BHLL.dtype).min)
    return (torch.softmax(score_BHLL, dim=-1) @ value_BKLE).transpose(1, 2), None


def _last(hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    place_L = torch.arange(mask_BL.shape[1], device=mask_BL.device)
    last_B = (mask_BL * place_L).argmax(1)
    return hidden_BLD.gather(1, last_B[:, None, None].expand(-1, 1, hidden_BLD.shape[2]))[:, 0]


def _first(hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    first_B = mask_BL.argmax(1)
    return hidden_BLD.gather(1, first_B[:, None, None].expand(-1, 1, hidden_BLD.shape[2]))[:, 0]


def _weighted(hidden_BLD: Tensor, weight_BL: Tensor, total_B: Tensor) -> Tensor:
    return (hidden_BLD * weight_BL[..., None].to(hidden_BLD.dtype)).sum(1) / total_B[:, None].to(hidden_BLD.dtype)


def _mean(hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    return _weighted(hidden_BLD, mask_BL, mask_BL.sum(1).clamp(min=1))


def _mean_root(hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    return _weighted(hidden_BLD, mask_BL, mask_BL.sum(1).clamp(min=1).to(hidden_BLD.dtype).sqrt())


def _weighted_mean(hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    weight_BL = mask_BL.cumsum(1) * mask_BL
    return _weighted(hidden_BLD, weight_BL, weight_BL.sum(1).clamp(min=1))


def _max(hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    lowest = torch.finfo(hidden_BLD.dtype).min
    return hidden_BLD.masked_fill(~mask_BL.bool()[..., None], lowest).amax(1)


POOLINGS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "last": _last,
    "mean": _mean,
    "cls": _first,
    "weighted_mean": _weighted_mean,
    "max": _max,
    "mean_sqrt_len": _mean_root,
}
"""`model.pooling.POOLINGS` over padded texts."""


def _no_mask(*_: Any, **__: Any) -> None:
    return None


AttentionInterface.register(ATTENTION, padded_attention)
AttentionMaskInterface.register(ATTENTION, _no_mask)
