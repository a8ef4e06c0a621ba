"""Loopback means loopback: with the default address, nothing that Ray Serve starts listens anywhere else."""

import psutil


def test_endpoint_proxy_and_replicas_listen_on_loopback_only(endpoint: str) -> None:
    port = int(endpoint.rsplit(":", 1)[1])
    listening = [
        (process.name(), connection.laddr)
        for process in psutil.Process().children(recursive=True)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and not is_rays_own(connection.laddr.port)
    ]
    assert port in {address.port for _, address in listening}
    assert [(name, address) for name, address in listening if address.ip not in ("127.0.0.1", "::1")] == []
