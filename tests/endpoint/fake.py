"""A hand-written OpenAI-compatible endpoint on the loopback, with a switch for each thing that real ones do."""

import base64
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import xxhash


@dataclass
class Fake:
    """What the endpoint does; may be changed while it runs."""

    width: int = 16
    words: int = 512
    """It cuts texts after so many words."""
    pooling: str = "mean"
    model: str = "m"
    noise: float = 0.0
    """Relative noise, another in each request."""
    formats: tuple[str | None, ...] = ("base64", "float", None)
    """Values of `encoding_format` that it takes (None: absent)."""
    says_base64: bool = True
    """Whether it answers base64 where it is asked to."""
    base64_type: str = "<f4"
    most_texts: int = 1_000_000
    most_bytes: int = 1_000_000_000
    longest: int | None = None
    """Words above which it refuses a text."""
    too_large: tuple[int, str] = (413, "batch size is above the maximum allowed batch size")
    busy: int = 0
    """So many next requests are answered 429."""
    busy_status: int = 429
    retry_after: str | None = None
    drops: int = 0
    """So many next connections are cut without an answer."""
    seconds: float = 0.0
    """It takes so long over a text."""
    key: str | None = None
    wider_after: int | None = None
    """After so many texts its vectors are one wider."""
    broken: str | None = None
    """`twice` or `hole` among `index`, `nan` for texts that hold "bad", `no index`, `html`, `no data`."""
    says: Callable[[str], str] = str
    """What it answers to a chat's prompt; a prompt that holds "filtered" is refused."""
    stops_after: int | None = None
    """After so many requests every connection is cut."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    """Bodies that it got, answered or not."""
    texts: int = 0
    most_in_flight: int = 0
    in_flight: int = 0

    def vectors(self, texts: list[str], request: int) -> np.ndarray:
        """Embed texts: the mean of their words' random vectors, or the last one's."""
        rows = []
        for text in texts:
            words = text.split()[: self.words] or [""]
            drawn = [_word(word, self.width) for word in words]
            rows.append(drawn[-1] if self.pooling == "last" else np.mean(drawn, axis=0))
        vector_ND = np.stack(rows)
        vector_ND /= np.linalg.norm(vector_ND, axis=1, keepdims=True)
        noise_ND = np.random.default_rng(request).standard_normal(vector_ND.shape) / self.width**0.5
        return (vector_ND + self.noise * noise_ND).astype(np.float32)

    def restarted(self, **changes: Any) -> "Fake":
        """The same endpoint, restarted with changes."""
        return replace(self, asked=[], texts=0, **changes)


@cache
def _word(word: str, width: int) -> np.ndarray:
    return np.random.default_rng(xxhash.xxh3_64_intdigest(word.encode())).standard_normal(width)


@contextlib.contextmanager
def running(fake: Fake) -> Iterator[str]:
    """Have an endpoint up for the time of the block; gives its base URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


def _handler(fake: Fake) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one write an answer; two would wait for each other's acknowledgement

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                fake.asked.append(body)
                request = len(fake.asked)
                fake.in_flight += 1
                fake.most_in_flight = max(fake.most_in_flight, fake.in_flight)
            try:
                time.sleep(fake.seconds * len(body.get("input", "1")))
                if fake.drops > 0 or (fake.stops_after is not None and request > fake.stops_after):
                    fake.drops = max(fake.drops - 1, 0)
                    self.close_connection = True
                    self.connection.close()
                    return
                with lock:
                    status, answer = self._answer(body, request)
            finally:
                with lock:
                    fake.in_flight -= 1
            self._send(status, answer)

        def _answer(self, body: dict[str, Any], request: int) -> tuple[int, Any]:
            chats = self.path == "/v1/chat/completions"
            if not (chats or self.path == "/v1/embeddings") or body["model"] != fake.model:
                return 404, {"error": {"message": f"The model `{body['model']}` does not exist."}}
            if fake.key and self.headers.get("authorization") != f"Bearer {fake.key}":
                return 401, {"error": {"message": "Incorrect API key provided."}}
            if fake.busy > 0:
                fake.busy -= 1
                return fake.busy_status, {"error": {"message": "Rate limit reached."}}
            if chats:
                return self._complete(body)
            texts = [one if isinstance(one, str) else " ".join(map(str, one)) for one in body["input"]]
            if body.get("encoding_format") not in fake.formats:
                return 422, {"detail": "encoding_format: not known"}
            if len(texts) > fake.most_texts or sum(len(text.encode()) for text in texts) > fake.most_bytes:
                return fake.too_large[0], {"error": {"message": fake.too_large[1]}}
            if fake.longest is not None and max(len(text.split()) for text in texts) > fake.longest:
                return 400, {"error": {"message": f"This model's maximum context length is {fake.longest} tokens."}}
            if fake.broken == "html":
                return 200, "<html>It works!</html>"
            return 200, self._vectors(texts, body.get("encoding_format"), request)

        def _complete(self, body: dict[str, Any]) -> tuple[int, Any]:
            prompt = body["messages"][-1]["content"]
            if "filtered" in prompt:
                return 400, {"error": {"message": "The prompt was filtered."}}
            if fake.broken == "html":
                return 200, "<html>It works!</html>"
            said = fake.says(prompt)
            usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(said.split())}
            return 200, {"choices": [{"index": 0, "message": {"role": "assistant", "content": said}}], "usage": usage}

        def _vectors(self, texts: list[str], asked: str | None, request: int) -> Any:
            fake.texts += len(texts)
            extra = fake.wider_after is not None and fake.texts > fake.wider_after
            vector_ND = fake.vectors(texts, request)
            if extra:
                vector_ND = np.pad(vector_ND, ((0, 0), (0, 1)))
            if fake.broken == "nan":
                vector_ND[["bad" in text for text in texts]] = np.nan
            rows = []
            for index, vector_D in enumerate(vector_ND):
                if asked == "base64" and fake.says_base64:
                    told: Any = base64.b64encode(vector_D.astype(fake.base64_type).tobytes()).decode()
                else:
                    told = vector_D.tolist()
                rows.append({"object": "embedding", "index": index, "embedding": told})
            if fake.broken == "twice" and len(rows) > 1:
                rows[1]["index"] = 0
            if fake.broken == "hole" and len(rows) > 1:
                rows[-1]["index"] = len(rows)
            if fake.broken == "no index":
                rows = [{"embedding": row["embedding"]} for row in rows]
            return {
                "object": "list",
                "vectors" if fake.broken == "no data" else "data": rows[::-1],
                "model": fake.model,
            }

        def _send(self, status: int, answer: Any) -> None:
            content = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            self.send_response(status)
            if fake.retry_after is not None and status in (429, 503):
                self.send_header("retry-after", fake.retry_after)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    return Handler
