"""sentence-transformers' cached loss over the texts of a drawn batch, as its own documentation sets it up."""

from collections.abc import Callable

import torch
from shared.gpu.models import Drawn, Scale
from torch import Tensor, nn
from transformers import Qwen3Model


def cached_loss_step(scale: Scale, backbone: Qwen3Model, drawn: Drawn, *, mini_batch: int) -> Callable[[], None]:
    """Return one step of `CachedMultipleNegativesRankingLoss` in bfloat16 with a fused optimizer.

    Args:
        scale: of the session.
        backbone: the model that it trains.
        drawn: the texts, the same as ours.
        mini_batch: texts of one of its passes.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.losses import CachedMultipleNegativesRankingLoss

    model = SentenceTransformer(modules=[_LastToken(backbone, scale.device)], device=scale.device)
    loss = CachedMultipleNegativesRankingLoss(model, mini_batch_size=mini_batch)
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=1e-6, fused=True)
    columns, labels = _columns(drawn), torch.arange(len(drawn.batch.query_Q), device=scale.device)

    def step() -> None:
        optimizer.zero_grad()
        loss([dict(column) for column in columns], labels).backward()
        optimizer.step()

    return step


class _LastToken(nn.Module):
    """A module of sentence-transformers: the backbone and its last-token pooling."""

    def __init__(self, backbone: Qwen3Model, device: str) -> None:
        super().__init__()
        self.backbone, self._kind = backbone, device

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add the embedding to the features."""
        ids, mask = features["input_ids"], features["attention_mask"]
        with torch.autocast(self._kind, torch.bfloat16):
            hidden_BLD = self.backbone(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        last_B = mask.sum(1) - 1
        state_BD = hidden_BLD[torch.arange(len(hidden_BLD), device=hidden_BLD.device), last_B].float()
        return {"sentence_embedding": nn.functional.normalize(state_BD, dim=-1)}


def _columns(drawn: Drawn) -> list[dict[str, Tensor]]:
    """Lay the batch out in columns, each padded to its longest text."""
    batch = drawn.batch
    texts = [text for chunk in batch.chunks for text in torch.split(chunk.tokens, chunk.lengths_B.tolist())]
    rows = [batch.query_Q, batch.positive_Q, *batch.negatives_QN.T]
    return [_padded([texts[row] for row in column.tolist()]) for column in rows]


def _padded(texts: list[Tensor]) -> dict[str, Tensor]:
    ids = nn.utils.rnn.pad_sequence(texts, batch_first=True)
    lengths = torch.tensor([len(text) for text in texts], device=ids.device)
    mask = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
    return {"input_ids": ids, "attention_mask": mask.long()}
