"""Free ports of this machine."""

import errno
import random
import socket
from contextlib import ExitStack

from polyglossa.errors import PolyglossaError

LOOPBACK = "127.0.0.1"

# Above the ports that Ray gives its workers (10002 to 19999) and below those that systems give to outgoing connections
# (from 32768 on Linux, 49152 elsewhere): a connection of anybody's may take one of these between this search and its
# use, and did.
_RANGE = range(20000, 32768)


def free_port(host: str = LOOPBACK) -> int:
    """Find one; see `free_ports`."""
    return free_ports(1, host)[0]


def free_ports(count: int, host: str = LOOPBACK) -> list[int]:
    """Find ports that nothing listens on, all different, and that no outgoing connection takes.

    Args:
        count: how many.
        host: address that they are free on; `""` is every address.

    Raises:
        PolyglossaError: fewer are free.
    """
    found: list[int] = []
    with ExitStack() as stack:  # all are held until the last is found: one that was let go may be given again
        for port in random.SystemRandom().sample(_RANGE, len(_RANGE)):  # others search at the same time
            probe = stack.enter_context(socket.socket())
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                found.append(port)
            if len(found) == count:
                return found
    raise PolyglossaError(f"{len(found)} of {count} ports are free on {host or 'this machine'}: end what listens.")
