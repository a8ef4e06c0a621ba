"""Compose the recipe that fine-tunes a model on one's own data: what is trained how, judged by what, held against what.

Pure: sizes in, plain data out. Rates and steps were chosen with all-MiniLM-L6-v2 on medical questions, commands and
labelled requests (`make bench-own`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from polyglossa.scaffold.base_model import BaseModel

MEMBER, STAGE = "tuned", "own"
_BYTES_PER_PARAMETER = 18
"""Weights, gradient and Adam's two moments in float32, and what a step holds beside."""
_SMALL, _MIDDLE = 100e6, 1e9  # parameters
_LORA_RATE = 1e-4
_CORE_FLOPS = 4e10
"""What a core computes in float32, about."""
_OVERHEAD_SECONDS = 150
_PATIENCE_SECONDS = 15 * 60
"""How long a run of `init` may take on processors: steps are fewer where long texts or a large model take longer."""
_FEWEST_STEPS = 30
_SEARCHED = ("search", "clicks", "translations")
_ELSEWHERE = {"cldr": (524_700, 14_100), "pydoc": (6_000, 1_500)}
"""Rows of the embedded sources, and texts of their held-out parts, about."""


@dataclass(frozen=True)
class Source:
    """One source of the folder, by what the recipe must know of it."""

    name: str
    kind: str
    training_rows: int
    training_queries: int
    documents: int
    heldout: int
    query_tokens: float
    document_tokens: float
    language: str
    """Of most of its queries (ISO 639-3)."""
    is_code: bool = False


@dataclass(frozen=True)
class Machine:
    """What trains."""

    on_gpu: bool
    cores: int
    memory_gib: float
    """Of the GPU, or of the machine."""


@dataclass(frozen=True)
class Wishes:
    """What was asked for beside the data."""

    matryoshka: bool = False
    student: bool = False
    tasks: tuple[str, ...] = ()
    """mteb's tasks that show what is lost elsewhere."""


@dataclass(frozen=True)
class Learning:
    """How the stage learns, chosen by rows, model and device."""

    batch: int
    steps: int
    rate: float
    negatives: int
    max_tokens: int
    lora: bool
    dtype: str
    """Least precision: float32 on processors, so that the figures are those of any of them."""

    @property
    def examples(self) -> int:
        """Pairs read in all."""
        return self.batch * self.steps


def choose_learning(sources: Sequence[Source], model: BaseModel, machine: Machine) -> Learning:
    """Choose batch, steps, rate, negatives and the longest text; on processors steps that end within patience."""
    rows = sum(source.training_rows for source in sources)
    batch = max(8, min(256 if machine.on_gpu else 64, 2 ** int(math.log2(max(8, rows / 16)))))
    passes = 3.0 if rows <= 1500 else 2.0 if rows <= 20_000 else 1.0
    most = 10**9 if machine.on_gpu else 8_000  # examples that two cores read in minutes
    steps = max(1, round(min(passes * rows, max(most, rows // 4)) / batch))
    lora = model.parameters * _BYTES_PER_PARAMETER > 0.7 * machine.memory_gib * 2**30
    rate = 5e-5 if model.parameters < _SMALL else 2e-5 if model.parameters < _MIDDLE else 1e-5
    longest = max((source.document_tokens for source in sources), default=64) * 1.5
    wanted = 2 ** math.ceil(math.log2(max(32, longest)))
    max_tokens = int(min(model.longest, 512 if machine.on_gpu else 128, wanted))
    negatives = 4 if machine.on_gpu else 1
    dtype = "bfloat16" if machine.on_gpu else "float32"
    chosen = Learning(batch, steps, _LORA_RATE if lora else rate, negatives, max_tokens, lora, dtype)
    if machine.on_gpu:
        return chosen
    beside = expected_seconds(sources, model, replace(chosen, steps=0), machine)
    step = (expected_seconds(sources, model, chosen, machine) - beside) / steps
    return replace(chosen, steps=max(min(steps, _FEWEST_STEPS), min(steps, int((_PATIENCE_SECONDS - beside) / step))))


def compose_tuning(
    name: str,
    folder: Path,
    sources: Sequence[Source],
    model: BaseModel,
    learning: Learning,
    wishes: Wishes,
) -> dict[str, Any]:
    """Compose a recipe's plain data.

    Args:
        name: of the run.
        folder: what `init` wrote, as the recipe names it.
        sources: what is in it.
        model: what is fine-tuned.
        learning: how.
        wishes: further choices.
    """
    elsewhere = ["pydoc"] if model.is_english else ["cldr", "pydoc"]
    names = [source.name for source in sources]
    has_prompts = any(model.prompts.values())
    data: dict[str, Any] = {
        "name": name,
        "storage": "runs",
        "corpus": _corpus(folder, sources, elsewhere),
        "training": {STAGE: _stage(names, model, learning, wishes)},
        "mine": {
            "model": f"{MEMBER}@backbone",
            "sources": names,
            "prompts": "model" if has_prompts else "none",
            "top_k": 50,
            "relative_margin": 0.95,
            "negatives": max(2, learning.negatives),
        },
        "members": [
            {"name": MEMBER, "backbone": {"model": model.path, "max_tokens": model.longest}, "stages": [STAGE]}
        ],
        "evaluate": {
            "heldout": elsewhere,
            "tasks": list(wishes.tasks),
            "local": [task_of(source, folder) for source in sources],
            "widths": _is_matryoshka(model, wishes),
            "gate": {"gain": 0.0, "largest_loss": 0.02},
        },
        "own": {"folder": str(folder), "tasks": [task_name(one) for one in names], "start": model.short_name},
        "serve": {"members": [MEMBER], "aliases": {name: MEMBER}},
        "expect": _expect(sources, model, learning, elsewhere),
    }
    if wishes.student:
        _add_student(data, model, learning)
    if any(source.kind in _SEARCHED for source in sources):
        data["tune"] = _search(sources, learning)
    return data


def _stage(names: Sequence[str], model: BaseModel, learning: Learning, wishes: Wishes) -> dict[str, Any]:
    lora = {"rank": 16, "alpha": 32.0, "modules": list(model.linear_layers)}
    return {
        "sources": list(names),
        **({"prompts": "model"} if any(model.prompts.values()) else {}),
        "hard_negatives": True,
        "negatives": learning.negatives,
        "global_batch": learning.batch,
        "steps": learning.steps,
        "max_tokens": learning.max_tokens,
        "learning_rate": learning.rate,
        "warmup_steps": max(1, learning.steps // 10),
        "dtype": learning.dtype,
        **({"objective": {"matryoshka": "published"}} if _is_matryoshka(model, wishes) else {}),
        **({"lora": lora} if learning.lora else {}),
    }


def _expect(
    sources: Sequence[Source], model: BaseModel, learning: Learning, elsewhere: Sequence[str]
) -> dict[str, Any]:
    """What `polyglossa plan` counts with before anything is packed; lengths are those of a sample."""
    rows = {source.name: max(1, source.training_rows) for source in sources}
    judged = sum(source.documents + source.heldout for source in sources)
    query, document = (
        round(max(2.0, _mean(sources, value)), 1)
        for value in (lambda source: source.query_tokens, lambda source: source.document_tokens)
    )
    own = {"rows_by_source": rows, "sources": len(rows), "query_tokens": query, "document_tokens": document}
    mined = {"negatives": float(learning.negatives), "stored_negatives": float(max(2, learning.negatives))}
    return {
        "corpus_rows": sum(rows.values()) + sum(_ELSEWHERE[kind][0] for kind in elsewhere),
        "mined_rows": sum(rows.values()),
        "evaluation_texts": judged + sum(_ELSEWHERE[kind][1] for kind in elsewhere),
        "evaluation_tokens": round(min(float(model.longest), document), 1),
        "stages": {STAGE: own | mined},
    }


def _is_matryoshka(model: BaseModel, wishes: Wishes) -> bool:
    """Tell whether shorter vectors are trained: where they are asked for, or are there already."""
    return wishes.matryoshka or len(model.matryoshka) > 1


def _corpus(folder: Path, sources: Sequence[Source], elsewhere: Sequence[str]) -> dict[str, Any]:
    columns = {
        "query": "query", "positive": "passage", "negatives": ["negatives"], "group": "group", "language": "language",
        "split": "split",
    }  # fmt: skip
    own = [
        {
            "kind": "pairs", "name": source.name, "task": "bitext" if source.kind == "translations" else "retrieval",
            "files": [str(folder / "train" / f"{source.name}.parquet")],
            "columns": columns | ({"positive_language": "positive_language"} if source.kind == "translations" else {}),
            **({"code": True} if source.is_code else {}),
        }
        for source in sources
    ]  # fmt: skip
    sets = [
        {"name": task_name(source.name), "path": str(folder / "heldout" / source.name / "texts.parquet")}
        for source in sources
    ]
    tasks = ("retrieval", "bitext", "clustering", "classification", "sts")
    return {
        "instructions": {"tasks": dict.fromkeys(tasks, ""), "sources": {}},
        "sources": [*own, *({"kind": kind} for kind in elsewhere)],
        # A passage may share its standing phrases with a held-out one; whole texts and long blocks may not pass.
        "decontamination": {"sets": sets, "block_characters": 200, "spaceless_block_characters": 100},
        "validation_share": 0.0,
    }


def task_name(source: str) -> str:
    """Name of the task that is cut from a source."""
    return f"own-{source}"


def task_of(source: Source, folder: Path) -> dict[str, Any]:
    """The task of `evaluate.local` that a source's held-out part is."""
    place = folder / "heldout" / source.name
    task: dict[str, Any] = {"name": task_name(source.name), "language": source.language}
    if source.kind == "labels":
        paths = {"path": str(place / "test.parquet"), "train": str(place / "train.parquet")}
        return {"kind": "classification", **task, **paths}
    if source.kind == "scores":
        return {"kind": "sts", **task, "path": str(place / "pairs.parquet")}
    return {"kind": "retrieval", **task, "path": str(place)}


def judge_scratch_by_own(data: dict[str, Any], folder: Path, sources: Sequence[Source]) -> dict[str, Any]:
    """Let a recipe from scratch (`compose`) read the folder's training part and be judged by what it holds out.

    Args:
        data: plain data.
        folder: what `init` wrote, as the recipe names it.
        sources: what is in it.
    """
    own = _corpus(folder, sources, [])
    names = [source.name for source in sources]
    embedded = [one for one in data["corpus"]["sources"] if one["kind"] in ("cldr", "pydoc")]
    data["corpus"] |= {"sources": [*embedded, *own["sources"]], "decontamination": own["decontamination"]}
    data["training"]["stage1"]["sources"] = ["cldr", *names]
    data["evaluate"]["local"] = [task_of(source, folder) for source in sources]
    tasks = [task_name(source.name) for source in sources]
    data["own"] = {"folder": str(folder), "tasks": tasks, "start": "untrained", "average_shares": []}
    for stage in data["expect"]["stages"].values():
        rows = {name: count for name, count in stage["rows_by_source"].items() if name not in names}
        stage["rows_by_source"] = rows | {source.name: max(1, source.training_rows) for source in sources}
    return data


def _add_student(data: dict[str, Any], model: BaseModel, learning: Learning) -> None:
    """Add half of the layers, taught by the tuned model."""
    data["training"]["student"] = {
        "sources": data["training"][STAGE]["sources"],
        "global_batch": learning.batch,
        "steps": 2 * learning.steps,
        "max_tokens": learning.max_tokens,
        "learning_rate": 2e-4,
        "warmup_steps": max(1, learning.steps // 5),
        "dtype": learning.dtype,
        "objective": {"teacher_terms": {"similarity_kl": 5.0, "cosine": 2.0}},
    }
    cut = {"hidden": model.width, "mlp": model.mlp, "layers": max(1, model.layers // 2), "depth": "uniform"}
    data["members"].append(
        {"name": "small", "prune": {"from": f"{MEMBER}@{STAGE}", **cut}, "stages": ["student"], "teacher": MEMBER}
    )
    data["serve"]["members"].append("small")
    data["expect"]["stages"]["student"] = dict(data["expect"]["stages"][STAGE])


def _search(sources: Sequence[Source], learning: Learning) -> dict[str, Any]:
    """The search that is advised where the result is not better: `polyglossa run RECIPE --until tune`."""
    searched = [task_name(one.name) for one in sources if one.kind in _SEARCHED]
    return {
        "member": MEMBER,
        "trials": 8,
        "space": {
            f"training.{STAGE}.learning_rate": {"loguniform": [learning.rate / 4, learning.rate * 4]},
            f"training.{STAGE}.steps": {"choice": [learning.steps, 2 * learning.steps]},
            "mine.relative_margin": {"choice": [0.9, 0.95, 0.98]},
        },
        "judge": {"sets": searched},
    }


def expected_seconds(sources: Sequence[Source], model: BaseModel, learning: Learning, machine: Machine) -> float:
    """Estimate how long a run takes, from the tokens that pass through the model.

    Args:
        sources: what is read.
        model: what reads it.
        learning: how it learns.
        machine: what computes.
    """
    body = max(1, model.parameters - model.table)  # a table multiplies nothing
    query = _mean(sources, lambda source: source.query_tokens)
    document = _mean(sources, lambda source: source.document_tokens)
    cut = min(learning.max_tokens, document)
    trained = learning.examples * (query + (1 + learning.negatives) * cut)
    embedded = sum(2 * one.documents * min(model.longest, one.document_tokens) for one in sources)
    embedded += sum((one.training_queries + 2 * one.heldout) * one.query_tokens for one in sources)
    flops = 6 * body * trained + 2 * body * embedded
    return _OVERHEAD_SECONDS + flops / (5e13 if machine.on_gpu else _CORE_FLOPS * machine.cores)


def _mean(sources: Sequence[Source], value: Any) -> float:
    rows = sum(source.training_rows for source in sources)
    return float(sum(source.training_rows * value(source) for source in sources) / max(1, rows))


def recipe_comment(learning: Learning, machine: Machine, notes: Mapping[str, str]) -> str:
    """Lines above a recipe that say what was chosen and why."""
    device = "a GPU" if machine.on_gpu else f"{machine.cores} cores"
    lines = [
        "Written by `polyglossa init`; every key is documented in jobs/recipes/README.md.",
        f"Chosen for {device}: {learning.steps} steps of {learning.batch} pairs, rate {learning.rate:g}, "
        f"texts of {learning.max_tokens} tokens in training.",
        *(f"{key}: {value}" for key, value in notes.items()),
    ]
    return "".join(f"# {line}\n" for line in lines)
