"""Runs the five published steps of `step_vectors.json` in real processes that meet over gloo.

python -m engine.published.steps RANK WORLD FOLDER DTYPE      # → FOLDER/steps-DTYPE.json (rank 0 writes)

Each of the reference's two ranks held four queries; here the same eight are one global batch, of which a rank embeds
its share. Weights and texts follow the rules that the file states.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from transformers import Qwen3Config, Qwen3Model

from engine.worlds import join
from polyglossa.data.batch import Chunk, RankBatch
from polyglossa.engine.backends.plain import PlainBackend
from polyglossa.engine.embedder import Embedder
from polyglossa.engine.objective import build_objective
from polyglossa.engine.schedule import published
from polyglossa.engine.stage_spec import StageSpec
from polyglossa.engine.step import Budget, run_step
from polyglossa.model.forward import TextModel
from polyglossa.recipe import load_recipe

REFERENCE = json.loads(Path(__file__).with_name("step_vectors.json").read_text(encoding="utf-8"))
RECIPE = Path(__file__).parents[3] / "jobs/recipes/f2llm-v2.yaml"
STEPS, RANKS, QUERIES, NEGATIVES, EOS = 5, 2, 4, 3, 1


def make_model(scale: float = 1.0) -> Qwen3Model:
    """The model whose k-th parameter by name is a sine of k and the place in it."""
    model = Qwen3Model(Qwen3Config(**REFERENCE["config"])).double()
    with torch.no_grad():
        for number, (_, value) in enumerate(sorted(model.named_parameters())):
            place = torch.arange(value.numel(), dtype=torch.float64)
            drawn = torch.sin(0.37 * (number + 1) + 0.11 * place) * (0.02 if value.ndim == 2 else 0.01)
            value.copy_(scale * (drawn + (1 if value.ndim == 1 else 0)).reshape(value.shape))
    return model


def text(step: int, rank: int, role: int, number: int) -> list[int]:
    """Tokens of a text: role 0 is a query, 1 a positive, 2 a negative."""
    length = 3 + (7 * step + 5 * rank + 3 * role + 2 * number) % 9
    seed = 13 * step + 17 * rank + 29 * role + 31 * number
    return [*(2 + (seed + 7 * t * t + t) % 61 for t in range(length)), EOS]


def table(step: int) -> list[list[int]]:
    """Texts of a step: queries of both ranks, then positives, then negatives."""
    counts = (QUERIES, QUERIES, QUERIES * NEGATIVES)
    return [
        text(step, rank, role, n) for role, count in enumerate(counts) for rank in range(RANKS) for n in range(count)
    ]


def make_batch(step: int, rank: int, world: int, teacher: TextModel) -> RankBatch:
    """The global batch of a step: every rank embeds each `world`-th text."""
    texts = table(step)
    # Rows of a rank lie together in the gathered table.
    own = [list(range(first, len(texts), world)) for first in range(world)]
    rows = len(own[0])
    queries = torch.arange(RANKS * QUERIES)
    tokens = torch.tensor([token for row in own[rank] for token in texts[row]])
    lengths = torch.tensor([len(texts[row]) for row in own[rank]])
    flat, sizes = torch.tensor([token for one in texts for token in one]), [len(one) for one in texts]
    with torch.no_grad():
        states_TD = teacher(flat, sizes)
    return RankBatch(
        step=step,
        rank=rank,
        world=world,
        source="reference",
        task="retrieval",
        in_batch=True,
        chunks=(Chunk(tokens, lengths, own[rank][0], step, dummy=False),),
        texts=len(texts),
        rows_per_rank=rows,
        gather_T=torch.tensor([row % world * rows + row // world for row in range(len(texts))]),
        own_R=torch.tensor(own[rank]),
        query_Q=queries,
        positive_Q=queries + RANKS * QUERIES,
        negatives_QN=2 * RANKS * QUERIES + torch.arange(RANKS * QUERIES * NEGATIVES).reshape(-1, NEGATIVES),
        group_Q=queries,
        source_Q=torch.zeros(RANKS * QUERIES, dtype=torch.int64),
        positive_score_Q=torch.full((RANKS * QUERIES,), float("nan")),
        score_Q=None,
        teacher_TE=states_TD,
        tokens=sum(sizes),
        padded_tokens=sum(sizes),
    )


def run(rank: int, world: int, dtype: str) -> dict[str, Any]:
    """Take the five steps; what the reference reports of them.

    Objective and optimizer are those of the second stage of the shipped recipe.
    """
    stage = load_recipe(RECIPE).training["stage2"]
    teacher = TextModel.of(make_model(1.25).to(getattr(torch, dtype)).eval())
    embedder = Embedder(TextModel.of(make_model()), dtype=dtype)
    spec = StageSpec.of(stage)
    backend = PlainBackend(embedder, settings=spec.optimizer)
    weight = stage.objective.distillation_weight
    objective = build_objective(spec.objective, width=32, distillation_weight=weight)
    log = []
    for step in range(STEPS):
        batch = make_batch(step, rank, world, teacher)
        result = run_step(backend, batch, objective, budget=Budget(pass_tokens=1, resident_tokens=1 << 20))
        rate = published(step, peak=1e-3, floor=1e-7, warmup_steps=2, total_steps=STEPS)
        norm = backend.update(rate)
        log.append({"step": step, "learning_rate": rate, "gradient_norm_before_clip": norm, **result.terms})
    weights = {name: _sums(value) for name, value in backend.weights()}
    return {"log": log, "parameters": weights}


def _sums(value: Tensor) -> list[float]:
    flat = value.detach().double().flatten()
    return [float(flat.sum()), float(flat.square().sum()), float(flat[::7].sum())]


def main() -> None:
    rank, world, folder, dtype = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    join(rank, world, folder)
    found = run(rank, world, dtype)
    if rank == 0:
        (folder / f"steps-{dtype}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
