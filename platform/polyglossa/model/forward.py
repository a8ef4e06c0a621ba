"""The one forward path of trainer, encoder, miner, teacher and replica: packed texts → backbone → pooling → dense.

N = tokens of all texts, end to end; B = texts; L = longest of them; D = width of the backbone; S = width of a state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from polyglossa.model.attention.layers import mark_attention
from polyglossa.model.attention.packed import ATTENTION
from polyglossa.model.attention.packed_texts import PackedTexts
from polyglossa.model.dense import Dense
from polyglossa.model.description import ModelDescription, describe_backbone
from polyglossa.model.pooling import POOLINGS

# A low-precision pass is filled up to a multiple of these tokens. On a CPU oneDNN keeps a kernel for every size that
# it has met, and 1,200 passes of any size held 0.9 GiB and ran at 5.5 µs a token where even ones held 0.1 GiB and took
# 4.4. On a GPU sizes that differ every pass leave the allocator fragments, and products run in tiles of 128 rows.
EVEN_TOKENS = {"cpu": 64, "cuda": 128}


class TextModel(nn.Module):
    """A backbone with its pooling and dense layers, as its description says.

    Attributes:
        backbone: the model without a head.
        dense: layers behind the pooling.
        description: how a text becomes a state.
    """

    def __init__(self, backbone: PreTrainedModel, dense: Sequence[Dense], description: ModelDescription) -> None:
        """Put a model together.

        Args:
            backbone: the model without a head; attends packed from now on, unless its description says otherwise.
            dense: layers behind the pooling.
            description: how a text becomes a state.
        """
        super().__init__()
        self.backbone = backbone
        self.dense = nn.ModuleList(dense)
        self.description = description
        if self.description.packed:
            use_packed_attention(backbone)

    @classmethod
    def of(cls, backbone: PreTrainedModel, *, prompts: Mapping[str, str] | None = None) -> "TextModel":
        """Put a backbone together with what its architecture says, and prompts."""
        description = describe_backbone(type(backbone), backbone.config)
        return cls(backbone, (), replace(description, prompts=dict(prompts or {})))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.backbone.device
        return device

    def forward(self, tokens_N: Tensor, lengths: Sequence[int], *, shared_tokens: int = 0) -> Tensor:
        """Return each text's raw state [B, S].

        Args:
            tokens_N: the texts one after another.
            lengths: tokens of each.
            shared_tokens: where it is not 0, the first text is the beginning of all others, which are given without it;
                only where `description.shares_beginnings`. The first state returned is that beginning's own.
        """
        return self.every_state(tokens_N, lengths, depths=(), shared_tokens=shared_tokens)[-1]

    def every_state(
        self, tokens_N: Tensor, lengths: Sequence[int], *, depths: Sequence[int], shared_tokens: int = 0
    ) -> list[Tensor]:
        """Return raw states [B, S] after so many layers, and last the model's own; see `every_hidden_state`."""
        texts = PackedTexts(lengths, tokens_N.device, shared_tokens=shared_tokens)
        return [self.pool(hidden_ND, texts.lengths_B) for hidden_ND in self._hidden_states(tokens_N, texts, depths)]

    def hidden_states(self, tokens_N: Tensor, lengths: Sequence[int], *, shared_tokens: int = 0) -> Tensor:
        """Return the backbone's last hidden states [N, D]; arguments as `forward` takes them."""
        return self.every_hidden_state(tokens_N, lengths, shared_tokens=shared_tokens, depths=())[-1]

    def every_hidden_state(
        self, tokens_N: Tensor, lengths: Sequence[int], *, depths: Sequence[int], shared_tokens: int = 0
    ) -> list[Tensor]:
        """Return hidden states [N, D] after so many layers, each through the final norm, and last the backbone's own.

        Args:
            tokens_N: the texts one after another.
            lengths: tokens of each.
            depths: numbers of layers, each below the full depth.
            shared_tokens: as `forward` takes it.
        """
        texts = PackedTexts(lengths, tokens_N.device, shared_tokens=shared_tokens)
        return self._hidden_states(tokens_N, texts, depths)

    def _hidden_states(self, tokens_N: Tensor, texts: PackedTexts, depths: Sequence[int]) -> list[Tensor]:
        if not self.description.packed:
            return self._padded_hidden_states(tokens_N, texts, depths)
        output = self.backbone(
            input_ids=tokens_N[None],
            position_ids=(texts.places_N + self.description.first_position)[None],
            use_cache=False,
            packed_texts=texts,
            output_hidden_states=bool(depths),
        )
        shallow = [self.backbone.norm(output.hidden_states[depth][0]) for depth in depths]
        return [*shallow, output.last_hidden_state[0]]

    def pool(self, hidden_ND: Tensor, lengths_B: Tensor) -> Tensor:
        """Pool hidden states and run the dense layers: [B, S]."""
        state_BD = torch.cat([POOLINGS[name].pool(hidden_ND, lengths_B) for name in self.description.pooling], 1)
        for dense in self.layers_behind:
            state_BD = dense(state_BD.to(dense.linear.weight.dtype))
        return state_BD

    @property
    def layers_behind(self) -> list[Dense]:
        """Dense layers behind the pooling."""
        return [layer for layer in self.dense if isinstance(layer, Dense)]

    def _padded_hidden_states(self, tokens_N: Tensor, texts: PackedTexts, depths: Sequence[int]) -> list[Tensor]:
        """Run texts padded on the right through transformers' own attention, and pack what comes out."""
        padding = self.backbone.config.pad_token_id or 0
        rows = list(torch.split(tokens_N, list(texts.lengths)))
        input_ids_BL = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=padding)
        places_L = torch.arange(input_ids_BL.shape[1], device=tokens_N.device)
        real_BL = places_L < texts.lengths_B[:, None]
        output = self.backbone(input_ids=input_ids_BL, attention_mask=real_BL.long(), output_hidden_states=bool(depths))
        slot_N = texts.text_N * len(places_L) + texts.places_N

        def packed(hidden_BLD: Tensor) -> Tensor:
            return hidden_BLD.flatten(0, 1).index_select(0, slot_N)

        shallow = [self.backbone.norm(packed(output.hidden_states[depth])) for depth in depths]
        return [*shallow, packed(output.last_hidden_state)]


def use_packed_attention(backbone: PreTrainedModel) -> None:
    """Make a backbone take packed texts, from now on nothing else.

    Raises:
        DataError: a layer attends in a way that is not known.
    """
    mark_attention(backbone)
    backbone.config._attn_implementation = ATTENTION


def fill_up(tokens_N: Tensor, lengths: Sequence[int]) -> tuple[Tensor, list[int]]:
    """Add texts up to a multiple of `EVEN_TOKENS`; no state of them is taken, so they get no gradient.

    Args:
        tokens_N: the texts one after another.
        lengths: tokens of each.

    Returns:
        The same with texts behind them: of one token each on a processor, whose attention pays by the square of a text;
        one text on a GPU, whose kernel pays by the text.
    """
    gpu = tokens_N.is_cuda
    missing = -len(tokens_N) % EVEN_TOKENS["cuda" if gpu else "cpu"]
    if not missing:
        return tokens_N, list(lengths)
    return nn.functional.pad(tokens_N, (0, missing)), [*lengths, *([missing] if gpu else [1] * missing)]
