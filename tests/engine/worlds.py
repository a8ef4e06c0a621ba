"""Runs cases of one training step in real processes that meet over gloo; started by the tests, once per world size.

python -m engine.worlds RANK WORLD FOLDER      # FOLDER/cases.json → FOLDER/<case>.safetensors (rank 0 writes)
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor
from transformers import Qwen3Config, Qwen3Model

from polyglossa.data.batch import Chunk, RankBatch
from polyglossa.data.layout import DUMMY, chunk_texts, deal
from polyglossa.engine.backends.plain import PlainBackend
from polyglossa.engine.embedder import Embedder
from polyglossa.engine.objective import build_objective
from polyglossa.engine.stage_spec import GuideTerm, ObjectiveSpec, OptimizerSettings
from polyglossa.engine.step import Budget, run_step, run_validation
from polyglossa.model.forward import TextModel
from polyglossa.model.variants.masked_tokens import MaskedTokens
from polyglossa.objectives.matryoshka import weights, widths
from polyglossa.recipe.sections.train import ObjectiveConfig

WIDTH, VOCABULARY, EXAMPLES, NEGATIVES = 35, 97, 10, 3
CHUNK_TOKENS = 40
GUIDE = GuideTerm(width=12, margin=0.0, most=0.9)
TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Case:
    """One way to compute the gradient of one batch."""

    name: str
    backend: str = "plain"
    """plain, or zero0 … zero3."""
    dtype: str = "float32"
    pass_tokens: int = 1
    resident_tokens: int = 1 << 20
    dropout: float = 0.0
    objective: str = "{}"
    """JSON of ObjectiveConfig."""
    teacher: bool = False
    scored: bool = False
    """Whether batches bring scores of pairs and of candidates, and a guide's states."""
    updates: int = 0
    """Optimizer steps taken after the gradient was read."""


def settings() -> OptimizerSettings:
    return OptimizerSettings(betas=(0.9, 0.98), epsilon=1e-8, weight_decay=0.01, clip=1.0)


def make_model(dropout: float = 0.0, *, seed: int = 0, causal: bool = True) -> Qwen3Model:
    torch.manual_seed(seed)
    # Odd sizes: ZeRO has to pad its partitions.
    return Qwen3Model(
        Qwen3Config(
            is_causal=causal,
            tie_word_embeddings=True,
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            intermediate_size=31,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            max_position_embeddings=64,
            attention_dropout=dropout,
            use_cache=False,
        )
    ).float()


def make_batch(seed: int, rank: int, world: int, *, teacher: bool = False, scored: bool = False) -> RankBatch:
    """A batch of very unequal lengths with shared texts, groups and rows that have fewer negatives."""
    rng = np.random.default_rng(seed)
    texts = EXAMPLES * 4
    length_T = np.concatenate([rng.integers(1, 9, texts - 2), [37, 60]])
    rng.shuffle(length_T)
    tokens = [rng.integers(0, VOCABULARY, length) for length in length_T]
    chunks = chunk_texts(length_T, CHUNK_TOKENS)
    dealt = deal(chunks, world)
    mine = [_chunk(int(number), chunks, tokens, seed) for number in dealt.chunk_WS[rank]]
    own = [np.arange(chunks.bounds_C1[c], chunks.bounds_C1[c + 1]) for c in dealt.chunk_WS[rank] if c != DUMMY]
    negatives = rng.integers(0, texts, (EXAMPLES, NEGATIVES))
    negatives[0, 1:] = -1
    batch = RankBatch(
        step=seed,
        rank=rank,
        world=world,
        source="synthetic",
        task="retrieval",
        in_batch=True,
        chunks=tuple(mine),
        texts=texts,
        rows_per_rank=dealt.rows_per_rank,
        gather_T=torch.from_numpy(dealt.gather_T),
        own_R=torch.from_numpy(np.concatenate(own)) if own else torch.zeros(0, dtype=torch.int64),
        query_Q=torch.from_numpy(rng.integers(0, texts, EXAMPLES)),
        positive_Q=torch.from_numpy(rng.integers(0, texts, EXAMPLES)),
        negatives_QN=torch.from_numpy(negatives),
        group_Q=torch.from_numpy(rng.integers(0, EXAMPLES, EXAMPLES)),
        source_Q=torch.zeros(EXAMPLES, dtype=torch.int64),
        positive_score_Q=torch.full((EXAMPLES,), float("nan")),
        score_Q=None,
        teacher_TE=torch.from_numpy(rng.standard_normal((texts, WIDTH)).astype(np.float16)) if teacher else None,
        tokens=int(length_T.sum()),
        padded_tokens=chunks.padded_tokens,
    )
    return _scored(batch, rng) if scored else batch


def _scored(batch: RankBatch, rng: np.random.Generator) -> RankBatch:
    """Add scores of pairs and of candidates, some missing, and a guide's states behind the teacher's."""
    guide_TE = torch.from_numpy(rng.standard_normal((batch.texts, GUIDE.width)).astype(np.float16))
    scores = [torch.from_numpy(rng.random(shape).astype(np.float32)) for shape in (EXAMPLES, (EXAMPLES, 1 + NEGATIVES))]
    for one in scores:
        one[1] = float("nan")
    states = [one for one in (batch.teacher_TE, guide_TE) if one is not None]
    return replace(
        batch,
        score_Q=scores[0],
        candidate_score_QC=scores[1],
        teacher_TE=torch.cat(states, dim=1),
    )


def _chunk(number: int, chunks: Any, tokens: Sequence[Any], seed: int) -> Chunk:
    if number == DUMMY:
        one = torch.ones(1, dtype=torch.int64)
        return Chunk(tokens=one, lengths_B=one, start=-1, seed=0, dummy=True)
    start, end = chunks.bounds_C1[number], chunks.bounds_C1[number + 1]
    rows = [torch.from_numpy(tokens[text]) for text in chunks.order_T[start:end]]
    return Chunk(torch.cat(rows), torch.tensor([len(row) for row in rows]), int(start), seed * 1000 + number, False)


def make_backend(case: Case) -> Any:
    options = ObjectiveConfig.model_validate_json(case.objective)
    start = options.temperature if options.learned_temperature else None
    learned = weights(widths(WIDTH), "learned") if options.matryoshka == "learned" else ()
    spec = ObjectiveSpec.of(options)
    masked = spec.masked_tokens and MaskedTokens(VOCABULARY - 1, spec.masked_tokens.share, spec.is_masked_alone)
    model = TextModel.of(make_model(case.dropout, causal=masked is None))
    embedder = Embedder(model, dtype=case.dtype, temperature=start, width_weights=learned, masked=masked)
    if case.backend == "plain":
        return PlainBackend(embedder, settings=settings())
    from polyglossa.engine.backends.deepspeed import DeepSpeedBackend

    return DeepSpeedBackend(embedder, settings=settings(), zero=int(case.backend[-1]))


def run_case(case: Case, rank: int, world: int) -> dict[str, Tensor]:
    """Return the loss, every gradient, and (after `updates`) every weight and the norms that were clipped."""
    backend = make_backend(case)
    spec = ObjectiveSpec.of(ObjectiveConfig.model_validate_json(case.objective))
    objective = build_objective(
        spec,
        width=WIDTH,
        distillation_weight=1.0 if case.teacher else 0.0,
        guide=GUIDE if case.scored else None,
    )
    found: dict[str, Tensor] = {}
    budget = Budget(case.pass_tokens, case.resident_tokens)
    norms = []
    for step in range(max(1, case.updates)):
        batch = make_batch(step, rank, world, teacher=case.teacher, scored=case.scored)
        if step == 0:
            found["validation"] = torch.tensor(
                run_validation(backend, batch, objective, budget=budget).loss, dtype=torch.float64
            )
        result = run_step(backend, batch, objective, budget=budget)
        if step == 0:
            found |= {f"gradient/{name}": value for name, value in backend.gradients().items()}
            found["loss"] = torch.tensor(result.loss, dtype=torch.float64)
        norms.append(backend.update(1e-3 if case.updates else 0.0))
    found["norms"] = torch.tensor(norms, dtype=torch.float64)
    if case.updates:
        found |= {f"weight/{name}": value.clone() for name, value in backend.weights()}
    backend.close()
    return {name: value.contiguous() for name, value in found.items()}


def launch(module: str, world: int, folder: Path, *arguments: str, timeout: float = 240) -> None:
    """Start `python -m module RANK WORLD FOLDER …` once per rank and wait; a failing rank fails the test."""
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent / "platform")])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", module, str(rank), str(world), str(folder), *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(world)
    ]
    try:
        outputs = [process.communicate(timeout=timeout)[0] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    for process, output in zip(ranks, outputs, strict=True):
        assert process.returncode == 0, output[-3000:]


def run_cases(cases: Sequence[Case], world: int, folder: Path) -> None:
    """Run cases in `world` processes; results lie in the folder."""
    (folder / "cases.json").write_text(json.dumps([asdict(case) for case in cases]))
    launch("engine.worlds", world, folder)


def join(rank: int, world: int, folder: Path) -> None:
    """Join the other ranks."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)


def main() -> None:
    rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    join(rank, world, folder)
    for plain in json.loads((folder / "cases.json").read_text()):
        case = Case(**plain)
        found = run_case(case, rank, world)
        if rank == 0:
            save_file(found, folder / f"{case.name}.safetensors")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
