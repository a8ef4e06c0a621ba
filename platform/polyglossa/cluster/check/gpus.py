"""Let the GPUs of a cluster sum a tensor, and say how fast they do."""

import socket
from collections.abc import Sequence

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from polyglossa.cluster.check.collective import all_reduce
from polyglossa.cluster.check.facts import NodeFacts
from polyglossa.cluster.check.judge import Finding

_NUMBERS = 256 * 1024**2  # 1 GiB of float32
_ANSWER_SECONDS = 120.0


def sum_over_gpus(nodes: Sequence[NodeFacts]) -> list[Finding]:
    """Sum 1 GiB over all GPUs of each group that has some."""
    groups = sorted({node.group for node in nodes if node.gpus})
    return [sum_over(group, [one for one in nodes if one.group == group], "nccl", _NUMBERS) for group in groups]


def sum_over(group: str, nodes: Sequence[NodeFacts], backend: str, numbers: int) -> Finding:
    """Sum a tensor over a group's GPUs, or with gloo over its nodes."""
    places = [node.node for node in nodes for _ in range(int(node.gpus) if backend == "nccl" else 1)]
    if len(places) < 2:
        return Finding("all-reduce", group, True, "one GPU has nobody to speak with")
    reduce, where = ray.remote(all_reduce), ray.remote(_free_address)
    at = NodeAffinitySchedulingStrategy(places[0], soft=False)
    address = ray.get(where.options(num_cpus=0, scheduling_strategy=at).remote())
    tasks = [
        reduce.options(
            num_cpus=0,
            num_gpus=1 if backend == "nccl" else 0,
            max_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(place, soft=False),
        ).remote(rank, len(places), address, backend=backend, numbers=numbers)
        for rank, place in enumerate(places)
    ]
    try:
        speeds = ray.get(tasks, timeout=_ANSWER_SECONDS)
    except (ray.exceptions.RayError, TimeoutError) as error:
        for task in tasks:
            ray.cancel(task, force=True)
        reason = " ".join(str(error).split())[-200:] or f"no sum within {_ANSWER_SECONDS:.0f} s"
        to_do = "free the GPUs, or look at NCCL_DEBUG=INFO: network policy, interfaces (NCCL_SOCKET_IFNAME), /dev/shm"
        return Finding("all-reduce", group, False, reason, to_do)
    size = numbers * 4 / 1024**3
    return Finding("all-reduce", group, True, f"{size:.1f} GiB over {len(places)} at {min(speeds) / 1e9:.1f} GB/s")


def _free_address() -> str:
    """Find an address of this node for rank 0 to listen on."""
    host = ray.util.get_node_ip_address()
    with socket.socket() as probe:
        probe.bind((host, 0))
        return f"tcp://{host}:{probe.getsockname()[1]}"
