"""Collectives of one training group. At world size 1 each is the identity; none lets gradient flow.

Gradient stays inside a rank: the step attaches a rank's own rows to what it gathered (`engine/step.py`), so that no
collective needs a backward.
"""

from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Value = TypeVar("Value")
# torch 2.13 calls it `all_gather_single`, and 2.11 knows the older name alone.
_gather_into = dist.all_gather_single if hasattr(dist, "all_gather_single") else dist.all_gather_into_tensor


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is."""
    return dist.get_rank() if dist.is_initialized() else 0


def barrier() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        dist.barrier()


def gather_values(own: Value) -> list[Value]:
    """Gather a small plain value from every rank, rank 0's first."""
    gathered = [own] * world_size()
    if len(gathered) > 1:
        dist.all_gather_object(gathered, own)
    return gathered


def gather_rows_without_gradient(own_RD: Tensor) -> Tensor:
    """Gather equally many rows from every rank.

    Args:
        own_RD: this rank's rows; R is the same on every rank.

    Returns:
        [world × R, D], rank 0's rows first, detached.
    """
    own_RD = own_RD.detach().contiguous()
    world = world_size()
    if world == 1:
        return own_RD
    gathered = own_RD.new_empty(world * own_RD.shape[0], *own_RD.shape[1:])
    _gather_into(gathered, own_RD)
    return gathered


def sum_in_place(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its sum over all ranks; one message for all of them.

    Raises:
        ValueError: the tensors differ in dtype or device.
    """
    if world_size() == 1 or not tensors:
        return
    if len({(tensor.dtype, tensor.device) for tensor in tensors}) > 1:
        raise ValueError("tensors that are summed together must share dtype and device")
    flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    start = 0
    for tensor in tensors:
        tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
        start += tensor.numel()
