"""Models, batches and ways to train that the GPU benchmark compares. Torch, numpy and transformers only.

Q = examples, T = distinct texts, N = negatives of an example.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen3Config, Qwen3Model

from polyglossa.data.batch import Chunk, RankBatch
from polyglossa.data.layout import chunk_texts
from polyglossa.engine.backends.plain import PlainBackend
from polyglossa.engine.embedder import Embedder
from polyglossa.engine.objective import build_objective
from polyglossa.engine.stage_spec import ObjectiveSpec, OptimizerSettings
from polyglossa.engine.step import Budget, Objective, run_step
from polyglossa.model.forward import TextModel

SETTINGS = OptimizerSettings(betas=(0.9, 0.98), epsilon=1e-8, weight_decay=0.01, clip=1.0)
_OBJECTIVE = ObjectiveSpec(
    temperature=0.05, hard_weight=1.0, in_batch_weight=1.0, matryoshka="published", gather="query_only", mask="none",
    score_margin=0.0, bidirectional=False, learned_temperature=False, terms={}, layer_exits=False,
)  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """Sizes of a member."""

    hidden: int
    mlp: int
    layers: int
    heads: int = 16
    kv_heads: int = 8
    head: int = 128

    @property
    def matrices(self) -> int:
        """Weights of the layers' products."""
        attention = self.hidden * (self.heads + 2 * self.kv_heads) * self.head + self.heads * self.head * self.hidden
        return self.layers * (attention + 3 * self.hidden * self.mlp)

    def forward_flops(self, lengths: Sequence[int]) -> float:
        """FLOPs of a causal forward pass: 2 a weight and token, and 2 · width · length² a layer (half of it unseen)."""
        attended = float(sum(length * length for length in lengths))
        return 2.0 * self.matrices * sum(lengths) + 2.0 * self.layers * self.heads * self.head * attended


@dataclass(frozen=True)
class Scale:
    """How large everything is: on a GPU, or tiny for a run of every phase on a processor."""

    device: str
    base: Shape
    small: Shape
    vocabulary: int
    longest: int
    median_tokens: float
    pass_tokens: int
    resident_tokens: int
    base_examples: int
    small_examples: int
    memory_examples: tuple[int, ...]
    search: tuple[int, int, int]
    """Queries, documents, width."""
    served: tuple[int, ...]
    """Texts of a request."""

    @property
    def gpu(self) -> bool:
        """Whether figures are of a GPU."""
        return self.device == "cuda"


GPU = Scale(
    device="cuda",
    base=Shape(1024, 3072, 28),
    small=Shape(320, 2048, 8),
    vocabulary=151_936,
    longest=1024,
    median_tokens=110.0,
    pass_tokens=32_768,
    resident_tokens=32_768,
    base_examples=96,
    small_examples=192,
    memory_examples=(16, 64, 256),
    search=(4096, 1_048_576, 1024),
    served=(1, 32, 400),
)
_TINY = Shape(64, 96, 2, 4, 2, 16)
TINY = Scale(
    device="cpu",
    base=_TINY,
    small=Shape(32, 48, 2, 4, 2, 16),
    vocabulary=500,
    longest=48,
    median_tokens=8.0,
    pass_tokens=256,
    resident_tokens=256,
    base_examples=8,
    small_examples=8,
    memory_examples=(4, 8),
    search=(16, 512, 32),
    served=(1, 4),
)


def build(scale: Scale, shape: Shape, layers: int | None = None) -> Qwen3Model:
    """Build a member's shape with random float32 weights, on the device."""
    config = Qwen3Config(
        vocab_size=scale.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.mlp,
        num_hidden_layers=layers or shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head,
        max_position_embeddings=scale.longest,
        use_cache=False,
        attn_implementation="sdpa",
    )
    torch.manual_seed(0)
    with torch.device(scale.device):
        return Qwen3Model(config).float().train()


@dataclass(frozen=True)
class Drawn:
    """A global batch, and the lengths of its texts."""

    batch: RankBatch
    lengths: list[int]

    @property
    def tokens(self) -> int:
        """Of all texts."""
        return sum(self.lengths)


def draw(
    scale: Scale, examples: int, *, negatives: int = 7, columns: bool = False, chunk_tokens: int | None = None
) -> Drawn:
    """Draw a batch with log-normal lengths, most short and a few at the limit.

    Args:
        scale: lengths and vocabulary.
        examples: Q.
        negatives: N.
        columns: lay chunks out as published trainers do, one column of the batch (queries, positives, each negative)
            after another and as the rows come; else by length.
        chunk_tokens: tokens of a chunk; None takes small ones, of which packed passes are put together.
    """
    rng = np.random.default_rng(0)
    texts = examples * (2 + negatives)
    length_T = np.clip(rng.lognormal(np.log(scale.median_tokens), 0.7, texts), 4, scale.longest).astype(np.int64)
    words = [torch.from_numpy(rng.integers(2, scale.vocabulary, int(length))) for length in length_T]
    if columns:
        order_T, bounds = np.arange(texts), list(range(0, texts + 1, _column_chunk(scale, examples)))
        bounds = sorted({*bounds, texts, *range(0, texts + 1, examples)})
    else:
        chunks = chunk_texts(length_T, chunk_tokens or max(1, scale.pass_tokens // 16))
        order_T, bounds = chunks.order_T, chunks.bounds_C1.tolist()
    row_T = torch.from_numpy(np.argsort(order_T))
    example_Q = torch.arange(examples)
    made = [
        Chunk(
            torch.cat([words[text] for text in order_T[start:stop]]),
            torch.from_numpy(length_T[order_T[start:stop]]),
            int(start),
            number,
            False,
        )
        for number, (start, stop) in enumerate(pairwise(bounds))
    ]
    batch = RankBatch(
        step=0,
        rank=0,
        world=1,
        source="drawn",
        task="retrieval",
        in_batch=True,
        chunks=tuple(made),
        texts=texts,
        rows_per_rank=texts,
        gather_T=torch.arange(texts),
        own_R=torch.arange(texts),
        query_Q=row_T[example_Q],
        positive_Q=row_T[example_Q + examples],
        negatives_QN=row_T[(torch.arange(examples * negatives) + 2 * examples).view(negatives, examples).T],
        group_Q=example_Q,
        source_Q=torch.zeros(examples, dtype=torch.int64),
        positive_score_Q=torch.full((examples,), float("nan")),
        score_Q=None,
        teacher_TE=None,
        tokens=int(length_T.sum()),
        padded_tokens=sum(int(chunk.lengths_B.max()) * len(chunk.lengths_B) for chunk in made),
    )
    return Drawn(batch.to(scale.device), length_T.tolist())


def _column_chunk(scale: Scale, examples: int) -> int:
    """Texts of a chunk of one column: as many as a pass holds when each is as long as the longest."""
    return max(1, min(examples, scale.pass_tokens // scale.longest))


def objective(shape: Shape) -> Objective:
    """Return the published loss over all Matryoshka widths."""
    return build_objective(_OBJECTIVE, width=shape.hidden)


def plain_backend(backbone: Qwen3Model, *, padded: bool = False, dtype: str = "bfloat16") -> PlainBackend:
    """Return a backend that trains packed texts, or padded ones."""
    kind = PaddedBackend if padded else PlainBackend
    return kind(Embedder(TextModel.of(backbone), dtype=dtype), settings=SETTINGS)


class PaddedBackend(PlainBackend):
    """The same step over chunks that are padded to their longest text, one pass each."""

    def embed(self, chunks: Sequence[Chunk]) -> Tensor:
        """See `step.Backend`."""
        backbone, device = self.embedder.backbone, self.embedder.device
        backbone.config._attn_implementation = "sdpa"
        states = []
        with torch.autocast(device.type, torch.bfloat16, enabled=self.embedder.low_precision):
            for chunk in chunks:
                rows = torch.split(chunk.tokens, chunk.lengths_B.tolist())
                tokens_BL = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
                # Padding lies on the right, where no token of a causal model sees it: no mask is needed.
                hidden_BLD = backbone(input_ids=tokens_BL, attention_mask={"full_attention": None}, use_cache=False)[0]
                last_B = (chunk.lengths_B - 1).to(device)
                states.append(hidden_BLD[torch.arange(len(last_B), device=device), last_B].float())
        return torch.cat(states)


def make_step(backend: PlainBackend, drawn: Drawn, shape: Shape, budget: Budget) -> Callable[[], None]:
    """Return one training step."""
    loss = objective(shape)

    def step() -> None:
        run_step(backend, drawn.batch, loss, budget=budget)
        backend.update(1e-6)

    return step


def synchronise(scale: Scale) -> None:
    """Wait for the device."""
    if scale.gpu:
        torch.cuda.synchronize()


def fresh_memory(scale: Scale) -> None:
    """Give cached memory back and forget the peak."""
    if scale.gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gib(scale: Scale) -> float:
    """Most memory that was in use since `fresh_memory`."""
    return torch.cuda.max_memory_allocated() / 2**30 if scale.gpu else 0.0


def median_seconds(scale: Scale, run: Callable[[], object], *, warm: int = 1, timed: int = 3) -> float:
    """Median time of a call."""
    for _ in range(warm):
        run()
    found = []
    for _ in range(timed):
        synchronise(scale)
        began = time.perf_counter()
        run()
        synchronise(scale)
        found.append(time.perf_counter() - began)
    return median(found)


def gradients(backend: PlainBackend, drawn: Drawn, shape: Shape, budget: Budget) -> Tensor:
    """Return the gradient of one step, all parameters end to end."""
    with suppress(AttributeError):
        backend.embedder.zero_grad(set_to_none=True)
    run_step(backend, drawn.batch, objective(shape), budget=budget)
    found = backend.gradients()
    return torch.cat([found[name].flatten() for name in sorted(found)])


def distance(found: Tensor, expected: Tensor) -> float:
    """Relative distance of two tensors."""
    return float((found.double() - expected.double()).norm() / expected.double().norm())
