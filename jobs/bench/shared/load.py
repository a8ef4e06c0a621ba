"""Load for the endpoint's benchmark: a closed loop of clients over keep-alive connections, in a process of its own.

Speaks HTTP/1.1 on plain asyncio streams, because a general client costs as much processor as the server that is
measured. Prints one JSON object.

    python jobs/bench/shared/load.py --url http://127.0.0.1:8000/v1/embeddings --bodies bodies.jsonl --clients 64
    --seconds 10
"""

import argparse
import asyncio
import itertools
import json
import time
from pathlib import Path
from urllib.parse import urlsplit


class Load:
    """Clients that each send the next body as soon as the last answer is there."""

    def __init__(self, url: str, bodies: list[bytes], headers: str = "") -> None:
        target = urlsplit(url)
        self._host, self._port = target.hostname, target.port
        head = f"POST {target.path} HTTP/1.1\r\nHost: {target.netloc}\r\nContent-Type: application/json\r\n{headers}"
        self._requests = [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
        self.seconds: list[float] = []
        self.failures: dict[str, int] = {}
        self.done: list[int] = []

    async def run(self, clients: int, *, seconds: float | None) -> float:
        """Run the clients for a time, or once through all bodies; returns the wall time."""
        repeat = itertools.cycle if seconds else iter
        queue = repeat(range(len(self._requests)))
        started = time.perf_counter()
        deadline = started + seconds if seconds else float("inf")
        await asyncio.gather(*(self._client(queue, deadline) for _ in range(clients)))
        return time.perf_counter() - started

    async def _client(self, queue: "itertools.cycle[int]", deadline: float) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=1 << 26)
        for index in queue:
            started = time.perf_counter()
            if started > deadline:
                break
            writer.write(self._requests[index])
            try:
                status = await _read_answer(reader)
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                status = type(error).__name__
                reader, writer = await asyncio.open_connection(self._host, self._port, limit=1 << 26)
            if status == "200":
                self.seconds.append(time.perf_counter() - started)
                self.done.append(index)
            else:
                self.failures[status] = self.failures.get(status, 0) + 1
        writer.close()


async def _read_answer(reader: asyncio.StreamReader) -> str:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    await reader.readexactly(length)
    return head[9:12].decode()


def percentile(seconds: list[float], share: float) -> float | None:
    """Return a percentile in milliseconds."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return round(1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)], 2)


def main() -> None:
    """Run one load and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--bodies", required=True, help="file with one JSON body a line")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--seconds", type=float, help="how long; without it each body is sent once")
    parser.add_argument("--key", help="API key")
    options = parser.parse_args()
    bodies = Path(options.bodies).read_bytes().splitlines()
    load = Load(options.url, bodies, f"Authorization: Bearer {options.key}\r\n" if options.key else "")
    wall = asyncio.run(load.run(options.clients, seconds=options.seconds))
    report = {
        "clients": options.clients,
        "requests": len(load.seconds),
        "failures": load.failures,
        "wall_seconds": round(wall, 3),
        "requests_per_second": round(len(load.seconds) / wall, 2),
        **{f"p{share}_ms": percentile(load.seconds, share / 100) for share in (50, 95, 99)},
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
