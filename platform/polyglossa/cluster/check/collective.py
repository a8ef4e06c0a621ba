"""One all-reduce among GPUs: whether they reach each other, and how fast."""

import time

import torch
import torch.distributed


def all_reduce(rank: int, world: int, address: str, *, backend: str, numbers: int) -> float:
    """Sum a tensor over all ranks twice and time the second.

    Args:
        rank: of this process.
        world: number of processes.
        address: `tcp://host:port` of rank 0.
        backend: `nccl` on GPUs, `gloo` without.
        numbers: float32 numbers of the tensor.

    Returns:
        Bytes a second that each rank sent and received (bus bandwidth of a ring).

    Raises:
        RuntimeError: the sum is wrong.
    """
    device = torch.device("cuda", 0) if backend == "nccl" else torch.device("cpu")
    torch.distributed.init_process_group(backend, init_method=address, rank=rank, world_size=world)
    try:
        for _ in range(2):
            tensor = torch.full((numbers,), float(rank), device=device)
            _wait(device)
            began = time.monotonic()
            torch.distributed.all_reduce(tensor)
            _wait(device)
            seconds = time.monotonic() - began
        if tensor[0].item() != world * (world - 1) / 2:
            raise RuntimeError(f"the sum over {world} ranks is {tensor[0].item()}")
    finally:
        torch.distributed.destroy_process_group()
    return 2 * (world - 1) / world * numbers * 4 / max(seconds, 1e-9)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
