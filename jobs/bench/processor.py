"""The quickstart's stage-1 step on this processor, and on it as one without AVX-512: precision, seconds, share of peak.

    python jobs/bench/processor.py [RECIPE]      # make bench-processor: packs the quickstart's data where it is missing

Steps are the engine's own, on two ranks that meet over gloo, each on one core, in what `runtime.precision` decides. The
variables below take AVX-512 from torch, oneDNN and MKL, on any processor. The peak is the median of plain float32
products, both cores at once, between the steps' runs; a step's arithmetic is `capacity/flops.py`'s. Emulated bfloat16
is timed on one rank and the shortest batch: it takes minutes otherwise. The last line is one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
import torch.distributed as dist

from polyglossa.artifact import Artifact
from polyglossa.cli.command import errors_in_one_line
from polyglossa.costing.flops import training_flops
from polyglossa.data.batch import RankBatch
from polyglossa.data.feed_spec import FeedSpec
from polyglossa.data.prefetch import PrefetchedBatches
from polyglossa.data.stream import local_batches
from polyglossa.engine.backends.plain import PlainBackend
from polyglossa.engine.embedder import Embedder
from polyglossa.engine.objective import build_objective
from polyglossa.engine.stage_spec import ObjectiveSpec, StageSpec
from polyglossa.engine.step import Budget, run_step
from polyglossa.engine.train_run import Compute, TrainRun, width_of
from polyglossa.engine.trainer import train
from polyglossa.model.directory import load_model
from polyglossa.recipe import Recipe, load_recipe
from polyglossa.recipe.placement import TrainPlacement
from polyglossa.recipe.sections.backbone import Shape
from polyglossa.recipe.sections.train import StageConfig
from polyglossa.runtime.precision import Precision, device_facts

QUICKSTART = Path(__file__).parents[1] / "recipes" / "quickstart.yaml"
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
WORLD, STEPS, WARM = 2, 8, 2
PRODUCT = (2048, 256, 512)  # tokens of a chunk × hidden × mlp
STAGE = "stage1"


def main() -> None:
    """Measure both processors and print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", nargs="?", type=Path, default=QUICKSTART, help="recipe file (YAML)")
    parser.add_argument("--set", action="append", default=[], metavar="A.B.C=VALUE", help="override one value")
    parser.add_argument("--part", choices=("steps", "emulated"), help=argparse.SUPPRESS)
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    with errors_in_one_line("bench/processor.py"):
        recipe = load_recipe(given.recipe, given.set)
        if given.part is not None:
            torch.set_num_threads(1)
            inputs = json.loads((given.folder / "inputs.json").read_text())
            part = emulated(recipe, inputs) if given.part == "emulated" else steps(recipe, inputs, given)
            print(json.dumps(part))
            return
        print(json.dumps(compare(recipe)))


def compare(recipe: Recipe) -> dict[str, Any]:
    """Run the steps natively and without AVX-512, and tell what the decision is worth."""
    model, pack = prepared(recipe)
    inputs = {"model": str(Path(model.at("model")).absolute()), "pack": str(Path(pack.uri).absolute())}
    native, old = launched("steps", inputs, {}, WORLD), launched("steps", inputs, AVX2, WORLD)
    slow = launched("emulated", inputs, AVX2, 1)
    return {
        "torch": torch.__version__,
        "processor": device_facts("cpu").name,
        "bf16_native": device_facts("cpu").gains_from_bfloat16,
        "chosen_native": native["dtype"],
        "chosen_avx2": old["dtype"],
        "step_seconds_native": native["seconds"],
        "step_seconds_avx2": old["seconds"],
        "avx2_emulated_bf16_over_chosen": slow["ratio"],
        "float32_peak_gflops_avx2": old["peak"],
        "share_of_float32_peak_avx2": old["share"],
    }


def prepared(recipe: Recipe) -> tuple[Artifact, Artifact]:
    """Make the untrained model and its packed data where they are not there yet."""
    from polyglossa.pipeline.build import build
    from polyglossa.pipeline.run import make
    from polyglossa.recipe import Profile

    graph = build(recipe)
    name = next(node.name for node in graph.nodes.values() if node.stage == "train" and node.name.endswith(STAGE))
    roles = graph.nodes[name].inputs
    made = make(recipe, Profile(), graph.needed_for([roles["model"], roles["pack"]]))
    return made[roles["model"]], made[roles["pack"]]


def launched(part: str, inputs: dict[str, str], environment: dict[str, str], world: int) -> dict[str, Any]:
    """Run a part in processes of its own; what rank 0 says."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "inputs.json").write_text(json.dumps(inputs))
        again = [sys.executable, __file__, *sys.argv[1:], "--part", part, "--folder", folder]
        ranks = [
            subprocess.Popen([*again, "--rank", str(rank)], env={**os.environ, **environment}, stdout=subprocess.PIPE)
            for rank in range(world)
        ]
        said = [process.communicate()[0] for process in ranks]
    if any(process.returncode for process in ranks):
        sys.exit(f"bench/processor.py: {part} failed; its error stands above.")
    found: dict[str, Any] = json.loads(said[0].decode().splitlines()[-1])
    return found


def steps(recipe: Recipe, inputs: dict[str, str], given: argparse.Namespace) -> dict[str, Any]:
    """Train a few steps as one of the ranks; seconds of a step, and its arithmetic over the products' around it."""
    dist.init_process_group("gloo", init_method=f"file://{given.folder}/rendezvous", rank=given.rank, world_size=WORLD)
    stage = recipe.training[STAGE].changed(steps=STEPS)
    run = TrainRun(
        name="bench",
        model_uri=inputs["model"],
        output_uri=str(given.folder / "output"),
        checkpoint_uri=str(given.folder / "checkpoints"),
        stage=StageSpec.of(stage),
        feed=FeedSpec.of_stage(stage, inputs["pack"]),
        total_steps=STEPS,
        width=width_of(inputs["model"]),
    )
    before = peak()
    compute = Compute.of(TrainPlacement(), zero=0, device="cpu")
    train(run, compute, partial(batches, run, given.rank), lambda done, note: None, print)
    around = fmean((before, peak()))
    records = [json.loads(line) for line in (given.folder / "output/metrics.jsonl").read_text().splitlines()[WARM:]]
    dist.destroy_process_group()
    tokens, seconds = (sum(record[name] for record in records) for name in ("tokens", "seconds"))
    flops = tokens * training_flops(shape_of(inputs["model"]), 2 * tokens / sum(record["texts"] for record in records))
    return {
        "dtype": records[0]["dtype"],
        "seconds": round(seconds / len(records), 3),
        "peak": round(WORLD * around / 1e9, 1),
        "share": round(flops / seconds / (WORLD * around), 3),
    }


def batches(run: TrainRun, rank: int, start: int) -> PrefetchedBatches:
    """Make a rank's batches ahead of its steps, as the feed does."""
    return PrefetchedBatches(local_batches(run.feed, rank=rank, world=WORLD, start=start))


def peak() -> float:
    """FLOP/s of a plain float32 product on this rank's core while the other rank computes the same."""
    rows, inner, columns = PRODUCT
    left, right = torch.ones(rows, inner), torch.ones(inner, columns)
    dist.barrier()
    seconds = []
    for _ in range(100):
        started = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - started)
    return 2 * rows * inner * columns / median(seconds)


def emulated(recipe: Recipe, inputs: dict[str, str]) -> dict[str, Any]:
    """Time one step in bfloat16 and in what is chosen here, on one rank."""
    stage = recipe.training[STAGE]
    spec = FeedSpec.of_stage(stage, inputs["pack"])
    batch = min(local_batches(spec, stop=4), key=lambda one: one.tokens)
    chosen = Precision.decide(stage.dtype, [device_facts("cpu")]).dtype
    slow, quick = (step_seconds(dtype, batch, stage, inputs) for dtype in ("bfloat16", chosen))
    return {"ratio": round(slow / quick, 1)}


def step_seconds(dtype: str, batch: RankBatch, stage: StageConfig, inputs: dict[str, str]) -> float:
    """Seconds of one step, the one that allocates left out where that takes no minutes."""
    settings = StageSpec.of(stage).optimizer
    backend = PlainBackend(Embedder(load_model(inputs["model"]), dtype=dtype), settings=settings)
    objective = build_objective(ObjectiveSpec.of(stage.objective), width=width_of(inputs["model"]))
    budget = Budget(stage.chunk_tokens, TrainPlacement().resident_tokens)
    seconds = []
    while not seconds or (len(seconds) < 4 and sum(seconds) < 20):
        started = time.perf_counter()
        run_step(backend, batch, objective, budget=budget)
        backend.update(1e-4)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def shape_of(model: str) -> Shape:
    """Read a model's shape from its directory."""
    config = load_model(model).backbone.config
    return Shape(
        hidden=config.hidden_size,
        mlp=config.intermediate_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
    )


if __name__ == "__main__":
    main()
