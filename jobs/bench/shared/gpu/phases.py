"""The phases of the GPU benchmark, in the order of their weight: what is true, what it is worth, and the rest."""

import importlib.util
import os
import warnings
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from shared.gpu.attention_check import check_kernels
from shared.gpu.models import (
    Scale,
    Shape,
    build,
    distance,
    draw,
    fresh_memory,
    gradients,
    make_step,
    median_seconds,
    objective,
    peak_gib,
    plain_backend,
    synchronise,
)
from shared.gpu.rivals import cached_loss_step
from shared.gpu.supervise import Json, Missing, Phase
from torch import nn

from polyglossa.engine.step import Budget, run_step
from polyglossa.mine import device_search
from polyglossa.mine.documents import InMemory
from polyglossa.mine.search import search
from polyglossa.model.attention import kernels
from polyglossa.model.encoder import Encoder
from polyglossa.model.forward import TextModel
from polyglossa.model.variants.compiled import compile_layers
from polyglossa.runtime.precision import apply_precision


def phases(scale: Scale, out: Path) -> list[Phase]:
    """Return the phases; `out` is the figures' file, beside which the profile goes."""
    base, small = scale.base, scale.small
    patience = 1 if scale.gpu else 5  # a processor is shared, and tiny sizes are for the code alone
    found = [
        Phase("machine", 30, partial(machine, scale)),
        Phase("kernels", 30, partial(check_kernels, scale)),
        Phase("gradients", 45, partial(gradients_agree, scale)),
        Phase("synchronisations", 20, partial(synchronisations, scale)),
        Phase("train_0.6b", 130, partial(train, scale, base, scale.base_examples)),
        Phase("sentence_transformers", 60, partial(sentence_transformers, scale)),
        Phase("memory", 40, partial(memory, scale)),
        Phase("train_80m", 60, partial(train, scale, small, scale.small_examples)),
        Phase("search", 50, partial(searching, scale)),
        Phase("serving", 40, partial(serving, scale)),
        Phase("deepspeed", 70, partial(deepspeed, scale)),
        Phase("profile", 30, partial(profile, scale, out.with_suffix(".profile.txt"))),
    ]
    return [replace(phase, seconds=phase.seconds * patience) for phase in found]


def machine(scale: Scale) -> Json:
    """Measure what the device does at its best, by which all else is judged."""
    size, bytes_moved = (8192, 1 << 31) if scale.gpu else (256, 1 << 20)

    def tflops(dtype: torch.dtype, tensor_float32: bool = False) -> float:
        torch.backends.cuda.matmul.allow_tf32 = tensor_float32
        left, right = (torch.randn(size, size, device=scale.device, dtype=dtype) for _ in range(2))
        seconds = median_seconds(scale, lambda: [left @ right for _ in range(5)], warm=2, timed=3)
        torch.backends.cuda.matmul.allow_tf32 = False
        return 5 * 2 * size**3 / seconds / 1e12

    source = torch.empty(bytes_moved, dtype=torch.uint8, device=scale.device)
    target, one = torch.empty_like(source), torch.ones(1, device=scale.device)
    found: Json = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "torch_kernel_arguments": sorted(kernels.installed_kernels().torch_arguments),
        "flash_attn": kernels.installed_kernels().flash_attn,
        "bfloat16_tflops": tflops(torch.bfloat16),
        "tensor_float32_tflops": tflops(torch.float32, tensor_float32=True),
        "float32_tflops": tflops(torch.float32),
        "copy_tb_per_second": 2 * bytes_moved / median_seconds(scale, lambda: target.copy_(source)) / 1e12,
        "launch_microseconds": median_seconds(scale, lambda: [one.add_(1) for _ in range(200)]) / 200 * 1e6,
    }
    if scale.gpu:
        free, total = torch.cuda.mem_get_info()
        driver = importlib.util.find_spec("torch.cuda._utils") is not None and torch.version.cuda
        found |= {"gpu": torch.cuda.get_device_name(), "memory_gib": total / 2**30, "free_gib": free / 2**30}
        found |= {"cuda": driver, "capability": ".".join(map(str, torch.cuda.get_device_capability()))}
    _PEAK[scale.device] = found["bfloat16_tflops"] * 1e12
    return found


_PEAK: dict[str, float] = {}


def _peak(scale: Scale) -> float:
    """FLOP/s of a large bfloat16 product, measured once a process."""
    if scale.device not in _PEAK:
        machine(scale)
    return _PEAK[scale.device]


class _Counted:
    """Counts calls of the kernels while it is open."""

    def __enter__(self) -> Counter[str]:
        self._real, calls = kernels.attend_by_kernel, Counter[str]()

        def counted(choice: kernels.KernelChoice, *arguments: Any, **options: Any) -> Any:
            calls[choice.kernel] += 1
            return self._real(choice, *arguments, **options)

        self._module = importlib.import_module("polyglossa.model.attention.packed")
        self._module.attend_by_kernel = counted  # type: ignore[attr-defined]
        return calls

    def __exit__(self, *_: object) -> None:
        self._module.attend_by_kernel = self._real  # type: ignore[attr-defined]


def gradients_agree(scale: Scale) -> Json:
    """Compare gradients of packed, padded and two-pass steps with those of float32; the kernel must have run."""
    drawn, backbone = draw(scale, 16 if scale.gpu else 4), build(scale, scale.base, layers=4 if scale.gpu else 2)
    whole = Budget(scale.pass_tokens, 1 << 30)
    apply_precision("bfloat16")
    packed_backend = plain_backend(backbone)
    with _Counted() as calls:
        packed = gradients(packed_backend, drawn, scale.base, whole)
    half = max(1, drawn.tokens // 4)
    two_pass = gradients(packed_backend, drawn, scale.base, Budget(half, half))
    padded = gradients(plain_backend(backbone, padded=True), drawn, scale.base, whole)
    apply_precision("float32")
    exact = gradients(plain_backend(backbone, dtype="float32"), drawn, scale.base, whole)
    found: Json = {
        "kernel_calls": dict(calls),
        "packed_to_float32": distance(packed, exact),
        "padded_to_float32": distance(padded, exact),
        "packed_to_padded": distance(packed, padded),
        "two_pass_to_one": distance(two_pass, packed),
    }
    found["kernel_ran"] = sum(calls.values()) > 0
    found["equal_to_bfloat16"] = found["packed_to_float32"] < 2 * found["padded_to_float32"] + 1e-3
    if scale.gpu and not found["kernel_ran"]:
        raise AssertionError(f"no kernel ran: {found}")
    if not found["equal_to_bfloat16"]:
        raise AssertionError(f"packed gradients are further from float32 than padded ones: {found}")
    return found


def synchronisations(scale: Scale) -> Json:
    """Count how often the host waits for the device in a step, and where."""
    backbone, drawn = build(scale, scale.base), draw(scale, 32 if scale.gpu else 4)
    backend, budget = plain_backend(backbone), Budget(scale.pass_tokens // 2, scale.resident_tokens)
    step = make_step(backend, drawn, scale.base, budget)
    step()
    if not scale.gpu:
        return {"counted": 0, "note": "only a GPU tells"}
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [one for one in said if "synchroniz" in str(one.message)]
    places = Counter(f"{os.path.basename(one.filename)}:{one.lineno}" for one in waits)
    return {"counted": len(waits), "where": dict(places.most_common(8))}


def train(scale: Scale, shape: Shape, examples: int) -> Json:
    """Time training steps: packed, packed and compiled, padded by length, padded in columns as published."""
    found: Json = {}
    backbone = build(scale, shape)
    packed, columns = draw(scale, examples), draw(scale, examples, columns=True)
    wide = draw(scale, examples, chunk_tokens=scale.pass_tokens // 2)  # padded passes as full as memory lets them be
    flops = 3 * shape.forward_flops(packed.lengths)
    for name in ("packed", "padded_by_length", "padded_in_columns", "packed_compiled"):
        fresh_memory(scale)
        try:
            drawn = {"padded_in_columns": columns, "padded_by_length": wide}.get(name, packed)
            if name == "packed_compiled":
                backend = plain_backend(backbone)
                compile_layers(backbone, "inductor" if scale.gpu else "eager")
            else:
                backend = plain_backend(backbone, padded=name.startswith("padded"))
            chunk = max(len(one.lengths_B) * int(one.lengths_B.max()) for one in drawn.batch.chunks)
            budget = Budget(scale.pass_tokens, scale.resident_tokens if name != "padded_in_columns" else chunk)
            step = make_step(backend, drawn, shape, budget)
            seconds = median_seconds(scale, step, warm=2 if "compiled" in name else 1, timed=3)
            found[name] = {
                "tokens_per_second": drawn.tokens / seconds,
                "flops_per_token": flops / drawn.tokens,
                "peak_share": flops / seconds / _peak(scale),
                "gib": peak_gib(scale),
                "step_seconds": seconds,
            }
        except Exception as error:
            found[name] = {"error": f"{type(error).__name__}: {str(error).splitlines()[:1]}"}
        finally:
            backend = step = None
            backbone.zero_grad(set_to_none=True)
    return found


def sentence_transformers(scale: Scale) -> Json:
    """Time sentence-transformers' cached loss on the same texts, at the best of its mini-batch sizes."""
    if importlib.util.find_spec("sentence_transformers") is None:
        raise Missing("sentence-transformers is not installed")
    drawn, found = draw(scale, scale.base_examples), dict[str, Any]()
    for size in (32, 128):
        fresh_memory(scale)
        step = cached_loss_step(scale, build(scale, scale.base), drawn, mini_batch=size)
        seconds = median_seconds(scale, step, warm=1, timed=2)
        found[f"mini_batch_{size}"] = {
            "tokens_per_second": drawn.tokens / seconds,
            "peak_share": 3 * scale.base.forward_flops(drawn.lengths) / seconds / _peak(scale),
            "gib": peak_gib(scale),
        }
    return found


def memory(scale: Scale) -> Json:
    """Measure the peak of a step for batches of growing size, which cached gradients keep level."""
    backbone, found = build(scale, scale.base), dict[str, Any]()
    pass_tokens = scale.pass_tokens // 2
    for examples in scale.memory_examples:
        fresh_memory(scale)
        drawn = draw(scale, examples)
        backend = plain_backend(backbone)
        run_step(backend, drawn.batch, objective(scale.base), budget=Budget(pass_tokens, pass_tokens))
        synchronise(scale)
        found[f"examples_{examples}"] = {"tokens": drawn.tokens, "gib": peak_gib(scale)}
        backbone.zero_grad(set_to_none=True)
    return found


def searching(scale: Scale) -> Json:
    """Time the search over resident documents and as a whole, and compare what it finds with a plain float32 one."""
    queries, documents, width = scale.search
    k, generator = 100 if scale.gpu else 10, torch.Generator(scale.device).manual_seed(0)

    def unit(count: int) -> torch.Tensor:
        return nn.functional.normalize(torch.randn(count, width, device=scale.device, generator=generator), dim=1)

    query, document = unit(queries), unit(documents)
    low, low_documents = query.bfloat16(), document.bfloat16()
    tiles = [low[start : start + device_search.TILE_QUERIES] for start in range(0, queries, device_search.TILE_QUERIES)]
    loop = median_seconds(scale, lambda: [device_search._best(tile, low_documents, k + 64) for tile in tiles])
    flops = 2.0 * queries * documents * width
    some = query[: min(256, queries)]
    expected = (some @ document.T).topk(k, 1).indices.cpu().numpy()
    given = query.cpu().numpy(), InMemory(document.cpu().numpy())
    found: Json = {"resident_seconds": loop, "resident_peak_share": flops / loop / _peak(scale)}
    for dtype in ("bfloat16", "float32"):
        ranked = {}

        def whole(dtype: str = dtype, ranked: dict[str, Any] = ranked) -> None:
            ranked["is"] = search(*given, k, dtype=dtype, device=scale.device)

        seconds = median_seconds(scale, whole, warm=0, timed=1)
        pairs = zip(ranked["is"].document_QK[: len(expected)], expected, strict=True)
        recall = float(np.mean([len({*left.tolist()} & {*right.tolist()}) / k for left, right in pairs]))
        found[dtype] = {"seconds": seconds, "peak_share": flops / seconds / _peak(scale), "recall": recall}
    return found


def serving(scale: Scale) -> Json:
    """Time requests of a few short texts, and passes as full as mining and teachers make them."""
    backbone = build(scale, scale.base).to(torch.bfloat16)
    encoder = Encoder(TextModel.of(backbone), None, max_tokens=scale.longest)  # type: ignore[arg-type]
    rng, found = np.random.default_rng(0), dict[str, Any]()
    for count in scale.served:
        texts = [rng.integers(2, scale.vocabulary, int(length)).tolist() for length in rng.integers(8, 40, count)]
        seconds = median_seconds(scale, partial(encoder.states, texts), warm=3, timed=15)
        found[f"texts_{count}"] = {"milliseconds": seconds * 1e3, "texts_per_second": count / seconds}
    lengths = draw(scale, scale.base_examples).lengths
    texts = [rng.integers(2, scale.vocabulary, length).tolist() for length in lengths]
    seconds = median_seconds(scale, partial(encoder.states, texts), warm=1, timed=3)
    flops = scale.base.forward_flops(lengths)
    found |= {
        "embedding_tokens_per_second": sum(lengths) / seconds,
        "embedding_flops_per_second": flops / seconds,
        "embedding_peak_share": flops / seconds / _peak(scale),
    }
    return found


def deepspeed(scale: Scale) -> Json:
    """Compare gradients of DeepSpeed's ZeRO stages at one rank with the plain backend's, and take an update."""
    if importlib.util.find_spec("deepspeed") is None:
        raise Missing("deepspeed is not installed")
    import torch.distributed as dist

    os.environ["DS_ACCELERATOR"] = scale.device
    if not dist.is_initialized():
        dist.init_process_group("nccl" if scale.gpu else "gloo", store=dist.HashStore(), rank=0, world_size=1)
    from shared.gpu.models import SETTINGS

    from polyglossa.engine.backends.deepspeed import DeepSpeedBackend
    from polyglossa.engine.embedder import Embedder

    drawn, budget = draw(scale, 16 if scale.gpu else 4), Budget(scale.pass_tokens // 8, scale.pass_tokens // 4)
    expected = gradients(plain_backend(build(scale, scale.base, layers=2)), drawn, scale.base, budget)
    found: Json = {}
    for zero in range(4):
        embedder = Embedder(TextModel.of(build(scale, scale.base, layers=2)), dtype="bfloat16")
        backend = DeepSpeedBackend(embedder, settings=SETTINGS, zero=zero)
        found[f"zero_{zero}"] = distance(gradients(backend, drawn, scale.base, budget), expected)  # type: ignore[arg-type]
        backend.update(1e-5)
        backend.close()
    return found


def profile(scale: Scale, target: Path) -> Json:
    """Write which kernels a packed step spends its time in."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    drawn, backend = draw(scale, 32 if scale.gpu else 4), plain_backend(build(scale, scale.base))
    step = make_step(backend, drawn, scale.base, Budget(scale.pass_tokens, scale.resident_tokens))
    step()
    synchronise(scale)
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if scale.gpu else [])]
    with profiled(activities=kinds) as seen:
        step()
        synchronise(scale)
    order = "self_cuda_time_total" if scale.gpu else "self_cpu_time_total"
    events = seen.key_averages()
    target.write_text(events.table(sort_by=order, row_limit=40, max_name_column_width=70))
    key = "self_device_time_total" if scale.gpu else "self_cpu_time_total"
    top = sorted(events, key=lambda event: -getattr(event, key))[:8]
    return {"file": target.name, "milliseconds": {event.key[:60]: getattr(event, key) / 1e3 for event in top}}
