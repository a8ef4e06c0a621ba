"""Measure the endpoint against the bare encoder and against a plain FastAPI server, all in this one run.

    python jobs/bench/serve.py [--model DIRECTORY] [--dtype float32] [--seconds 8] [--engine auto]

Three runs over the same texts (names and docstrings, mixed lengths), one after another on the same cores: the encoder
alone in a loop over all texts sorted by length; FastAPI with `SentenceTransformer.encode`; and the endpoint with API
keys, metrics and access log on, its member in replicas of its own and then in the ingress's process. The load comes
from a process of its own. The last line is one JSON object; its ratios compare what this run measured.
"""

import argparse
import ast
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # before this folder: it holds a `serve` too

from jobs.bench.shared.commands import ROOT, environment, say
from polyglossa.runtime.ports import free_port

KEY = "pg-bench"
LANGUAGES = ("en", "de", "fr", "fi", "ja", "ru", "ar", "hi", "zh", "sw", "el", "ko", "th", "am", "ta", "vi")


def main() -> None:
    """Run everything and print the figures."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        texts = make_texts(4096)
        path = options.model or make_model(Path(folder) / "model", texts)
        singles, batches = write_bodies(Path(folder), texts)
        cores = len(os.sched_getaffinity(0))
        say(f"{len(texts)} texts, {options.dtype}, {cores} cores")
        bare = measure_bare(path, texts, options.dtype, cores)
        peer = measure_peer(path, singles, options)
        ours = measure_endpoint(path, folder, singles, batches, options, cores, colocate=False)
        near = measure_endpoint(path, folder, singles, batches, options, cores, colocate=True)
    figures: dict[str, Any] = dict(compare(bare, peer, ours, near))
    figures |= {"bare": bare, "fastapi": peer, "endpoint": ours, "endpoint_colocated": near, "cores": cores}
    print(json.dumps(figures))


def compare(
    bare: dict[str, float], peer: dict[str, Any], ours: dict[str, Any], near: dict[str, Any]
) -> dict[str, float]:
    """Put the runs beside each other."""
    best = max(32 * ours[f"batches_{clients}"]["requests_per_second"] for clients in (8, 64))
    mine, theirs = ours["singles_64"], peer["singles_64"]
    return {
        "throughput_over_bare_encoder": round(best / bare["texts_per_second"], 3),
        "throughput_over_fastapi_64": round(mine["requests_per_second"] / theirs["requests_per_second"], 3),
        "colocated_over_fastapi_64": round(
            near["singles_64"]["requests_per_second"] / theirs["requests_per_second"], 3
        ),
        "single_over_fastapi": round(
            near["singles_1"]["requests_per_second"] / peer["singles_1"]["requests_per_second"], 3
        ),
        "p50_over_fastapi_1": round(near["singles_1"]["p50_ms"] / peer["singles_1"]["p50_ms"], 3),
        "p99_over_fastapi_64": round(mine["p99_ms"] / theirs["p99_ms"], 3),
        "cold_start_seconds": ours["cold_start_seconds"],
    }


def measure_bare(path: str, texts: list[str], dtype: str, threads: int) -> dict[str, float]:
    """Time the encoder alone, in a process of its own."""
    code = (
        "import sys, json, time, torch\n"
        "from polyglossa.model.encoder import Encoder\n"
        "path, dtype, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])\n"
        "torch.set_num_threads(threads)\n"
        "texts = json.load(sys.stdin)\n"
        "encoder = Encoder.load(path, dtype=dtype)\n"
        "best = 0.0\n"
        "for chunk_tokens in (512, 1024, 2048):\n"
        "    encoder.encode(texts[:256], chunk_tokens=chunk_tokens)\n"
        "    started = time.perf_counter()\n"
        "    encoder.encode(texts, chunk_tokens=chunk_tokens)\n"
        "    best = max(best, len(texts) / (time.perf_counter() - started))\n"
        "print(json.dumps({'texts_per_second': round(best, 1)}))\n"
    )
    command = [sys.executable, "-c", code, path, dtype, str(threads)]
    output = subprocess.run(
        command, input=json.dumps(texts), env=environment(), capture_output=True, text=True, check=True
    )
    figures: dict[str, float] = json.loads(output.stdout.splitlines()[-1])
    say(f"bare encoder: {figures}")
    return figures


def measure_peer(path: str, singles: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Load the plain FastAPI server."""
    port = free_port()
    command = [sys.executable, str(ROOT / "jobs/bench/rivals/endpoint.py"), path, str(port), options.dtype]
    server = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        url = f"http://127.0.0.1:{port}/v1/embeddings"
        load(url, singles, 8, 2)
        figures = {f"singles_{clients}": load(url, singles, clients, options.seconds) for clients in (1, 8, 64)}
    finally:
        server.terminate()
        server.wait()
    say(f"FastAPI: {figures}")
    return figures


def measure_endpoint(
    path: str, folder: str, singles: Path, batches: Path, options: argparse.Namespace, cores: int, *, colocate: bool
) -> dict[str, Any]:
    """Load the endpoint with everything on; its member in replicas of its own, or in the ingress's process."""
    import ray

    from polyglossa.serving.lifecycle import running_application

    keys = Path(folder) / "keys.json"
    keys.write_text(json.dumps([{"name": "bench", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}]))
    member = {"name": "m", "path": path, "dtype": options.dtype, "threads": options.threads or cores, "cpus": 1.0}
    member |= {"engine": options.engine, "colocate": colocate}
    if not colocate:
        member["replicas"] = {"min": options.replicas, "max": options.replicas}
    os.environ.update(environment())
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, object_store_memory=300_000_000, log_to_driver=False,
        logging_level="error", _node_ip_address="127.0.0.1",
    )  # fmt: skip
    with running_application({"members": [member], "keys_file": str(keys)}, port=free_port()) as base:
        url = f"{base}/v1/embeddings"
        load(url, singles, 8, 2)
        figures: dict[str, Any] = {}
        for name, bodies, counts in (("singles", singles, (1, 8, 64)), ("batches", batches, (1, 8, 64))):
            for clients in counts:
                figures[f"{name}_{clients}"] = load(url, bodies, clients, options.seconds)
                say(f"endpoint, {name}: {figures[f'{name}_{clients}']}")
        figures["engine"] = describe_engine(base)
        if not colocate:
            figures["cold_start_seconds"] = round(time_cold_start(url, singles), 2)
    ray.shutdown()
    return figures


def describe_engine(base: str) -> dict[str, Any]:
    """Ask the endpoint what its member computes with."""
    import httpx

    answer = httpx.get(f"{base}/v1/models", headers={"Authorization": f"Bearer {KEY}"}, trust_env=False)
    engine: dict[str, Any] = answer.json()["data"][0]["engine"]
    return engine


def time_cold_start(url: str, singles: Path) -> float:
    """Kill the member's replica and wait for the first vector of its successor."""
    import psutil

    for process in psutil.Process().children(recursive=True):
        if "member-m" in " ".join(process.cmdline()):
            process.send_signal(signal.SIGKILL)
    started = time.perf_counter()
    while not load(url, singles, 1, 0.05)["requests"]:
        time.sleep(0.1)
    return time.perf_counter() - started


def load(url: str, bodies: Path, clients: int, seconds: float) -> dict[str, Any]:
    """Run the load generator."""
    command = [
        sys.executable,
        str(ROOT / "jobs/bench/shared/load.py"),
        "--url",
        url,
        "--bodies",
        str(bodies),
        "--key",
        KEY,
    ]
    command += ["--clients", str(clients), "--seconds", str(seconds)]
    output = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, Any] = json.loads(output.stdout)
    return figures


def make_texts(count: int) -> list[str]:
    """Take names in sixteen languages and docstrings of the standard library, in turn; the same ones every time."""
    from babel import Locale

    names = [
        str(name)
        for code in LANGUAGES
        for table in (Locale.parse(code).territories, Locale.parse(code).languages)
        for name in table.values()
    ]
    documents = []
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:120]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and (text := ast.get_docstring(node)):
                documents.append(text[:600])
    chooser = random.Random(0)
    chooser.shuffle(names)
    chooser.shuffle(documents)
    return [text for pair in zip(names, documents, strict=False) for text in pair][:count]


def make_model(path: Path, texts: list[str]) -> str:
    """Write a Qwen3 model of the quickstart's shape with random weights: what it costs does not depend on them."""
    from polyglossa.model.directory import build_model, save_model_directory
    from polyglossa.model.forward import TextModel
    from polyglossa.model.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(texts, vocabulary=8192, max_tokens=512)
    backbone = build_model(
        hidden=256, mlp=512, layers=4, heads=4, kv_heads=2, head_dim=64, vocabulary=8192, max_tokens=512,
        eos=tokenizer.eos_token_id, padding=tokenizer.pad_token_id, seed=0,
    )  # fmt: skip
    save_model_directory(str(path), TextModel.of(backbone), tokenizer, max_tokens=512, matryoshka_widths=[64, 128, 256])
    return str(path)


def write_bodies(folder: Path, texts: list[str]) -> tuple[Path, Path]:
    """Write request bodies of one text and of 32 texts; base64, as the `openai` client asks for."""
    singles, batches = folder / "singles.jsonl", folder / "batches.jsonl"
    body = {"model": "m", "encoding_format": "base64"}
    singles.write_text("\n".join(json.dumps(body | {"input": text}) for text in texts))
    groups = [texts[start : start + 32] for start in range(0, len(texts), 32)]
    batches.write_text("\n".join(json.dumps(body | {"input": group}) for group in groups))
    return singles, batches


def wait_for(port: int) -> None:
    """Wait until something listens."""
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise RuntimeError(f"nothing listens on port {port} after a minute")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="model directory; without it a random one of the quickstart's shape is made")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of all three")
    parser.add_argument("--threads", type=int, help="passes side by side in a replica (default: all cores)")
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--engine", choices=("torch", "onnx", "openvino", "auto"), default="torch")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each load")
    return parser.parse_args()


if __name__ == "__main__":
    main()
