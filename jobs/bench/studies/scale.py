"""Measure how stages grow with the corpus: memory of the driver, the largest worker and the object store, and seconds.

    python jobs/bench/studies/scale.py [--rows 250000,1000000,4000000] [--given 0.05] [--stages corpus,pack]
        [--folder DIR]

Synthetic pairs of about 400 bytes in 40 languages of very unequal size; one source in twenty rows brings 24 negatives.
Each stage runs in a process of its own on a local Ray of two CPUs, and is watched from outside: `peak` is PSS in GiB of
the driver, of the largest worker, and what of the object store was ever touched. `growth_<stage>` compares the two
largest sizes (1.0: flat), `seconds_ratio_<stage>` their seconds, `rows_per_second_<stage>` is of the largest; queries
and pools of mining are capped by the recipe, so its seconds are those of a corpus that passes through. The last line is
one JSON object.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from shared.commands import environment, say

STAGES = ("corpus", "backbone", "pack", "mine", "pack_negatives", "train")
_NEGATIVES = 24
_LANGUAGES = 40
_FILE_ROWS = 50_000
_GIB = 2**30


def main() -> None:
    """Write the data of each size, run every stage, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="250000,1000000,4000000")
    parser.add_argument("--given", type=float, default=0.05, help="share of rows that bring 24 negatives")
    parser.add_argument("--stages", default=",".join(STAGES))
    parser.add_argument("--folder", type=Path, help="where it is done, kept, and gone on with; else a temporary one")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.stage:
        sys.path.insert(0, str(Path(__file__).parent))
        print(json.dumps(run_stage(chosen.stage, str(chosen.folder))))
        return
    sizes = [int(size) for size in chosen.rows.split(",")]
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="bench-scale-"))
    try:
        runs = {}
        for size in sizes:
            runs[size] = measure(size, chosen.given, chosen.stages.split(","), folder / str(size))
            if chosen.folder is None:
                shutil.rmtree(folder / str(size))
    finally:
        if chosen.folder is None:
            shutil.rmtree(folder)
    print(json.dumps(figures(runs)))


def measure(rows: int, given: float, stages: list[str], folder: Path) -> dict[str, Any]:
    """Run the stages over so many rows; figures by stage. A stage whose figures lie in the folder is not run again."""
    done = folder / "figures.json"
    if not done.exists():
        write_rows(folder / "data" / "plain", int(rows * (1 - given)), negatives=0, seed=0)
        write_rows(folder / "data" / "given", int(rows * given), negatives=_NEGATIVES, seed=1)
        done.write_text("{}")
    for stage in stages:
        found: dict[str, Any] = json.loads(done.read_text())
        if stage not in found:
            found[stage] = watched(stage, folder)
            found["disk_gib"] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / _GIB
            done.write_text(json.dumps(found))
        say(f"{rows:,} rows, {stage}: {found[stage]}")
    found = json.loads(done.read_text())
    return {name: found[name] for name in (*stages, "disk_gib")}


def write_rows(folder: Path, rows: int, *, negatives: int, seed: int) -> None:
    """Write pairs of made-up words, some languages a thousand times as often as others."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    drawn = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = np.array(["".join(drawn.choice(letters, drawn.integers(3, 9))) for _ in range(20_000)])
    shares = 1 / np.arange(1, _LANGUAGES + 1) ** 2
    names = ["eng", "deu", "fra", "spa", "por", "ita", "nld", "swe", "dan", "fin"]
    languages = np.array([names[place % len(names)] for place in range(_LANGUAGES)])

    def texts(count: int) -> Any:
        return pa.array([" ".join(some) for some in words[drawn.integers(0, len(words), (count, 28))]])

    for part, start in enumerate(range(0, rows, _FILE_ROWS)):
        count = min(_FILE_ROWS, rows - start)
        columns = {
            "query": texts(count),
            "passage": texts(count),
            "language": pa.array(drawn.choice(languages, count, p=shares / shares.sum())),
        }
        if negatives:
            offsets = pa.array(np.arange(0, count * negatives + 1, negatives, dtype=np.int32))
            columns["negatives"] = pa.ListArray.from_arrays(offsets, texts(count * negatives))
        pq.write_table(pa.table(columns), folder / f"part-{part:05}.parquet", compression="zstd")


def watched(stage: str, folder: Path) -> dict[str, Any]:
    """Run a stage in a process of its own and watch it."""
    command = [sys.executable, __file__, "--stage", stage, "--folder", str(folder)]
    started = time.perf_counter()
    peak = {"driver": 0.0, "worker": 0.0, "object_store": 0.0}
    log = folder / f"{stage}.log"
    with (
        log.open("w") as told,
        subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=told, text=True) as process,
    ):
        while process.poll() is None:
            for name, gib in _memory(process.pid).items():
                peak[name] = max(peak[name], gib)
            time.sleep(0.3)
        said = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise SystemExit(f"{stage} ended with {process.returncode}:\n{said[-500:]}\n{log.read_text()[-2000:]}")
    counted = json.loads(said.strip().splitlines()[-1])
    peak = {name: round(gib, 3) for name, gib in peak.items()}
    return {"seconds": round(counted["seconds"], 1), "whole_seconds": round(time.perf_counter() - started, 1), **peak}


def _memory(driver: int) -> dict[str, float]:
    """PSS of the driver and of the largest worker, and the object store's touched pages (GiB)."""
    found = {"driver": 0.0, "worker": 0.0, "object_store": 0.0}
    try:
        below = psutil.Process(driver).children(recursive=True)
        found["driver"] = _pss(driver)
        for process in below:
            name = " ".join(process.cmdline()[:1])
            if name.startswith("ray::"):
                found["worker"] = max(found["worker"], _pss(process.pid))
            elif name.endswith("raylet"):
                maps = process.memory_maps(grouped=True)
                found["object_store"] = sum(one.rss for one in maps if one.path.startswith("/dev/shm")) / _GIB
    except (psutil.Error, FileNotFoundError, ProcessLookupError):
        pass  # it ended meanwhile
    return found


def _pss(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / _GIB
    return 0.0


def run_stage(stage: str, folder: str) -> dict[str, Any]:
    """Run one stage on what those before it left."""
    from polyglossa.artifact import ArtifactKey, open_artifact, produce
    from polyglossa.recipe.placement import StagePlacement, TrainPlacement
    from polyglossa.runtime.session import local_ray

    made = Path(folder) / "made.json"
    known = json.loads(made.read_text()) if made.exists() else {}
    config, inputs, module = _settings(stage, folder)
    inputs = {role: open_artifact(known[name]) for role, name in inputs.items()}
    placement = TrainPlacement(workers=0) if stage == "train" else StagePlacement()
    key = ArtifactKey(module.STAGE, stage, module.REVISION, config.model_dump(mode="json"), inputs)
    with local_ray(cpus=2, object_store_gib=0.5):
        started = time.perf_counter()
        artifact = produce(folder, key, lambda draft: module.run(config, inputs, draft, placement))
        seconds = time.perf_counter() - started
    made.write_text(json.dumps(known | {stage: artifact.uri}))
    return {"seconds": seconds}


def _settings(stage: str, folder: str) -> tuple[Any, dict[str, str], Any]:
    """Configuration of a stage, the stages that it reads by role, and its module."""
    import importlib

    from polyglossa.recipe.load import validate
    from polyglossa.recipe.sections.backbone import BackboneConfig
    from polyglossa.recipe.sections.corpus import CorpusConfig
    from polyglossa.recipe.sections.mine import MineConfig
    from polyglossa.recipe.sections.pack import PackConfig
    from polyglossa.recipe.sections.train import StageConfig, TrainConfig

    columns = {"language": "language"}
    sources = [
        {"kind": "pairs", "name": name, "task": "retrieval", "files": [f"{folder}/data/{name}/*.parquet"]}
        | {"columns": columns | more}
        for name, more in (("plain", {}), ("given", {"negatives": ["negatives"]}))
    ]
    steps = {"global_batch": 64, "steps": 4, "max_tokens": 64, "warmup_steps": 1, "learning_rate": 1e-3}
    plain = validate(StageConfig, steps, "benchmark")
    hard = validate(StageConfig, steps | {"hard_negatives": True, "negatives": 4}, "benchmark")
    shape = {"hidden": 64, "mlp": 128, "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 32}
    backbone = {"shape": shape, "tokenizer": {"vocabulary": 8192}, "max_tokens": 64}
    capped = {"max_queries": 2000, "max_candidates": 20_000, "top_k": 30, "negatives": 8}
    mined = {"model": "base@backbone", "prompts": "none", "sources": ["plain"], **capped}
    found: dict[str, tuple[Any, dict[str, str]]] = {
        "corpus": (validate(CorpusConfig, {"sources": sources, "languages": {"checked_share": 0.0}}, "benchmark"), {}),
        "backbone": (validate(BackboneConfig, backbone, "benchmark"), {"corpus": "corpus"}),
        "pack": (PackConfig.of(plain), {"corpus": "corpus", "backbone": "backbone"}),
        "mine": (validate(MineConfig, mined, "benchmark"), {"corpus": "corpus", "model": "backbone"}),
        "pack_negatives": (PackConfig.of(hard), {"corpus": "corpus", "backbone": "backbone", "mine": "mine"}),
        "train": (TrainConfig.of(hard, distil=False), {"model": "backbone", "pack": "pack_negatives"}),
    }
    config, inputs = found[stage]
    return config, inputs, importlib.import_module(f"polyglossa.{stage.partition('_')[0]}.run")


def figures(runs: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """The keys of the report, from figures by size and stage."""
    sizes = sorted(runs)
    largest, before = sizes[-1], sizes[max(0, len(sizes) - 2)]
    stages = [stage for stage in runs[largest] if stage != "disk_gib"]
    found: dict[str, Any] = {"rows": sizes}
    for name in ("driver", "worker"):
        found[f"{name}_gib_{_short(largest)}"] = max(runs[largest][stage][name] for stage in stages)
    for stage in stages:
        old, new = runs[before][stage], runs[largest][stage]
        found[f"growth_{stage}"] = {name: round(new[name] / old[name], 3) for name in ("driver", "worker") if old[name]}
        found[f"seconds_ratio_{stage}"] = round(new["seconds"] / old["seconds"], 2)
        found[f"rows_per_second_{stage}"] = round(largest / new["seconds"])
    return found | {"by_size": {_short(size): runs[size] for size in sizes}}


def _short(rows: int) -> str:
    return f"{rows // 1_000_000}m" if rows >= 1_000_000 else f"{rows // 1000}k"


if __name__ == "__main__":
    main()
