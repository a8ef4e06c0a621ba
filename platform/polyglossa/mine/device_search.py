"""Top-k on a GPU: documents stay there, and the host is waited for once, at the end.

Tiles of a few thousand scores are bound by launches there (twenty operations and five transfers around 5 µs of
products), so documents are copied once, tiles are large, and what is best so far is a tensor. A tile's scores are read
once: the largest of every group of neighbours is found, only the best groups are looked into, and what they hold meets
what was best before. Products may be bfloat16; what they leave, `EXTRA` more than is asked for, is scored in float32.

Q = queries of a tile, N = documents, B = documents of a tile, D = width, C = candidates kept, G = documents of a group.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from polyglossa.mine.documents import READ_DOCUMENTS, Documents, Floats, Ints
from polyglossa.runtime.transfer import send

EXTRA = 64
"""Candidates beyond k that are scored in float32."""
TILE_QUERIES = 1024
TILE_DOCUMENTS = 262_144
_GROUP = 32
_MEMORY_SHARE = 0.5  # of what is free, for documents; scores of a tile and candidates' vectors take about 2 GiB
_EXACT_BYTES = 4
_LARGEST = 0xFFFFFFFF  # number of a document in a key
_NOTHING = -(1 << 63)


def find_candidates(
    query_QD: Floats,
    documents: Documents,
    count: int,
    *,
    precision: torch.dtype,
    device: str,
    resident: int | None = None,
) -> tuple[Floats, Ints]:
    """Find the best documents of every query by products on a device, and score them in float32.

    Args:
        query_QD: unit vectors.
        documents: candidates; each block is read once.
        count: C, documents kept per query.
        precision: of the products that choose them.
        device: torch device.
        resident: documents that lie on the device at the same time; None takes what its memory holds.

    Returns:
        Scores and numbers, [queries, C]; −inf and −1 where there are fewer documents.
    """
    with _exact_float32():
        query = send(torch.from_numpy(np.ascontiguousarray(query_QD)), device)
        low = query.to(precision)
        best_QC = torch.full((len(query), count), _NOTHING, device=device)
        for first, exact_ND in _resident(documents, precision, device, resident):
            low_ND = exact_ND.to(precision)
            for start in range(0, len(query), TILE_QUERIES):
                rows = slice(start, start + TILE_QUERIES)
                found_QC = numbers_of(_best(low[rows], low_ND, count))
                exact_QC = _score_exactly(query[rows], exact_ND, found_QC)
                best_QC[rows] = _merge(best_QC[rows], keys_of(exact_QC, found_QC + first))
        score_QC, document_QC = scores_of(best_QC), numbers_of(best_QC)
        document_QC = torch.where(score_QC == -torch.inf, -1, document_QC)
        return score_QC.cpu().numpy(), document_QC.cpu().numpy()


def keys_of(score: Tensor, number: Tensor) -> Tensor:
    """Make one int64 that orders by score, equal scores by number from low to high: the largest is the best."""
    bits = (score.float() + 0.0).view(torch.int32)  # + 0 makes −0 and 0 one number
    ascending = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(torch.int64)
    return (ascending << 32) | (_LARGEST - number)


def scores_of(key: Tensor) -> Tensor:
    """Return the scores of keys, float32."""
    ascending = (key >> 32).to(torch.int32)
    return torch.where(ascending < 0, ascending ^ 0x7FFFFFFF, ascending).view(torch.float32)


def numbers_of(key: Tensor) -> Tensor:
    """Return the numbers of keys."""
    return _LARGEST - (key & _LARGEST)


def _resident(
    documents: Documents, precision: torch.dtype, device: str, resident: int | None
) -> Iterator[tuple[int, Tensor]]:
    """Copy as many documents to the device as it holds, then the next."""
    step = resident or _fitting(documents, precision, device)
    for first in range(0, len(documents), step):
        last = min(first + step, len(documents))
        blocks = [
            send(
                torch.from_numpy(np.ascontiguousarray(documents.block(start, min(start + READ_DOCUMENTS, last)))),
                device,
            )
            for start in range(first, last, READ_DOCUMENTS)
        ]
        yield first, blocks[0] if len(blocks) == 1 else torch.cat(blocks)


def _fitting(documents: Documents, precision: torch.dtype, device: str) -> int:
    if torch.device(device).type != "cuda":
        return len(documents)
    width = documents.block(0, 1).shape[1]
    free, _ = torch.cuda.mem_get_info(device)
    # Blocks and their concatenation are there at the same time.
    each = width * (2 * _EXACT_BYTES + (0 if precision == torch.float32 else precision.itemsize))
    return max(TILE_DOCUMENTS, int(free * _MEMORY_SHARE) // each)


def _best(query_QD: Tensor, document_ND: Tensor, count: int) -> Tensor:
    """Return keys of the best documents, [Q, C]. Nothing here waits for the host."""
    queries, device = len(query_QD), query_QD.device
    best_QC = torch.full((queries, count), _NOTHING, device=device)
    lane_G = torch.arange(_GROUP, device=device)
    for start in range(0, len(document_ND), TILE_DOCUMENTS):
        tile_BD = document_ND[start : start + TILE_DOCUMENTS]
        score_QB = query_QD @ tile_BD.T
        missing = -len(tile_BD) % _GROUP
        if missing:
            score_QB = torch.nn.functional.pad(score_QB, (0, missing), value=-torch.inf)
        group_QgG = score_QB.view(queries, -1, _GROUP)
        groups = group_QgG.shape[1]
        # The C best documents lie in the C best groups; equal groups rank by number, as documents do.
        largest_Qg = keys_of(group_QgG.amax(2), torch.arange(groups, device=device))
        chosen_Qc = numbers_of(largest_Qg.topk(min(count, groups), dim=1, sorted=False).values)[:, :, None]
        found = group_QgG.gather(1, chosen_Qc.expand(-1, -1, _GROUP)).flatten(1)
        best_QC = _merge(best_QC, keys_of(found, (chosen_Qc * _GROUP + lane_G).flatten(1) + start))
    return best_QC


def _merge(best_QC: Tensor, found: Tensor) -> Tensor:
    """Keep the best of two sets of candidates."""
    return torch.cat([best_QC, found], dim=1).topk(best_QC.shape[1], dim=1).values


def _score_exactly(query_QD: Tensor, exact_ND: Tensor, found_QC: Tensor) -> Tensor:
    real_QC = found_QC < len(exact_ND)
    taken_QCD = exact_ND[found_QC.clamp_max(len(exact_ND) - 1)]
    return torch.bmm(taken_QCD, query_QD[:, :, None]).squeeze(2).masked_fill(~real_QC, -torch.inf)


@contextmanager
def _exact_float32() -> Iterator[None]:
    """Let float32 products be float32: TensorFloat-32 would pass for it."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
