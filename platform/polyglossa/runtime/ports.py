"""Free ports of this machine."""

import socket
from contextlib import ExitStack

LOOPBACK = "127.0.0.1"


def free_ports(count: int, host: str = LOOPBACK) -> list[int]:
    """Find ports that nothing listens on, all different.

    Args:
        count: how many.
        host: address that they are free on; `""` is every address.
    """
    with ExitStack() as stack:  # all are held until the last is found: one that was let go may be given again
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((host, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
