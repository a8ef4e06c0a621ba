"""Benchmark of the packed forward and backward on one GPU, against padded batches: tokens/s and share of the peak.

    python jobs/bench/gpu.py --out runs/bench/gpu.json          # make bench-gpu; no Ray, no data

Random weights of the 80M and 0.6B members, bf16; lengths of a skewed distribution: most short, a few at the limit.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen3Config, Qwen3Model

from polyglossa.engine.embedder import Embedder
from polyglossa.model.forward import TextModel

VOCABULARY, LONGEST, WARM, TIMED = 151_936, 1024, 3, 10
SHAPES = {
    "80M": {"hidden_size": 320, "intermediate_size": 2048, "num_hidden_layers": 8},
    "0.6B": {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28},
}
# Dense bf16 peak (TFLOP/s) from the makers' data sheets.
PEAKS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L4": 121.0, "L40S": 362.0, "A10G": 70.0}


def main() -> None:
    """Measure every shape, packed and padded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=None, help="JSON file for the figures")
    parser.add_argument("--tokens", type=int, default=65_536, help="real tokens of a pass")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no GPU here: run this on a machine with one.")
    figures: dict[str, Any] = {"device": torch.cuda.get_device_name()}
    for name in SHAPES:
        figures[name] = measure(name, options.tokens)
        print(name, *(f"{key} {value:.4g}" for key, value in figures[name].items()), sep="  ", flush=True)
    if options.out:
        Path(options.out).parent.mkdir(parents=True, exist_ok=True)
        Path(options.out).write_text(json.dumps(figures, indent=1))
    print(json.dumps(figures))


def measure(name: str, tokens: int) -> dict[str, float]:
    """Return tokens/s and the share of the device's peak, packed and padded, and how far their states are apart."""
    backbone, texts = build(name), sample_texts(tokens)
    lengths = [len(text) for text in texts]
    packed_tokens = torch.cat(texts).cuda()
    # Padding lies on the right, where no token of a causal model sees it.
    padded_tokens = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True).cuda()
    rows_B, lasts_B = torch.arange(len(texts)).cuda(), torch.tensor(lengths).cuda() - 1
    stock = backbone.config._attn_implementation

    def padded() -> Tensor:
        backbone.config._attn_implementation = stock
        with torch.autocast("cuda", torch.bfloat16):
            return backbone(input_ids=padded_tokens, use_cache=False).last_hidden_state[rows_B, lasts_B].float()

    reference = padded().detach()
    padded_rate = _rate(padded, sum(lengths))
    embedder = Embedder(TextModel.of(backbone), dtype="bfloat16")
    packed_rate = _rate(lambda: embedder(packed_tokens, lengths, 0), sum(lengths))
    states = embedder(packed_tokens, lengths, 0).detach()
    return {
        "packed_tokens_per_second": packed_rate,
        "padded_tokens_per_second": padded_rate,
        "speedup": packed_rate / padded_rate,
        "packed_peak_share": packed_rate * flops_per_token(backbone, lengths) / peak(),
        "least_cosine": float(torch.nn.functional.cosine_similarity(states, reference).min()),
    }


def build(name: str) -> Qwen3Model:
    """Build a member's shape with random weights on the GPU."""
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=LONGEST,
        use_cache=False,
        attn_implementation="sdpa",
        **SHAPES[name],
    )
    torch.manual_seed(0)
    return Qwen3Model(config).float().cuda().train()


def sample_texts(tokens: int) -> list[Tensor]:
    """Draw texts whose lengths are log-normal (median 60, limit 1,024), longest first, up to a number of tokens."""
    generator = torch.Generator().manual_seed(0)
    lengths: list[int] = []
    while sum(lengths) < tokens:
        draw = torch.exp(4.1 + 1.0 * torch.randn((), generator=generator))
        lengths.append(int(draw.clamp(2, LONGEST)))
    lengths.sort(reverse=True)
    return [torch.randint(0, VOCABULARY, (length,), generator=generator) for length in lengths]


def flops_per_token(backbone: Qwen3Model, lengths: list[int]) -> float:
    """Forward and backward: 6 a weight of the layers, and 6 · width · length (half of it, being causal) a layer."""
    weights = sum(parameter.numel() for parameter in backbone.layers.parameters())
    config = backbone.config
    attended = sum(length * length for length in lengths) / sum(lengths) / 2
    width = config.num_attention_heads * config.head_dim
    return 6.0 * weights + 12.0 * config.num_hidden_layers * width * attended


def peak() -> float:
    """Return the device's dense bf16 peak in FLOP/s; nan where it is not listed."""
    name = torch.cuda.get_device_name()
    return next((value * 1e12 for key, value in PEAKS.items() if key in name), float("nan"))


def _rate(embed: Callable[[], Tensor], tokens: int) -> float:
    for count in (WARM, TIMED):
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(count):
            embed().square().sum().backward()
        torch.cuda.synchronize()
    return TIMED * tokens / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
