"""Copy from the host to a device without waiting for it. Torch only."""

import torch
from torch import Tensor


def send(host: Tensor, device: torch.device | str) -> Tensor:
    """Copy a host tensor to a device; a GPU takes it while the host goes on.

    The copy starts from pinned memory, which torch's host allocator keeps until the copy is done. From pageable memory
    the host would wait for every one of them.
    """
    if torch.device(device).type != "cuda" or host.is_cuda:
        return host.to(device)
    return host.pin_memory().to(device, non_blocking=True)
