"""Free ports are ones that stay free: neither Ray's workers nor anybody's outgoing connections are given them."""

import socket
from pathlib import Path

import pytest

from polyglossa.errors import PolyglossaError
from polyglossa.runtime import ports
from polyglossa.runtime.ports import free_ports


def test_ports_are_different_free_and_outside_what_the_system_gives_to_connections() -> None:
    found = free_ports(20)
    assert len(set(found)) == 20
    for port in found:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not any(first <= port <= last for port in found)


def test_a_port_that_is_taken_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, free = free_ports(2)
    monkeypatch.setattr(ports, "_RANGE", (taken, free))
    with socket.socket() as other:
        other.bind(("127.0.0.1", taken))
        assert free_ports(1) == [free]
        with pytest.raises(PolyglossaError, match=r"^1 of 2 ports are free on 127\.0\.0\.1"):
            free_ports(2)
