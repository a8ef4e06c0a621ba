"""Write what an evaluation found: mteb's result files, the samples behind them, the summary and the model card."""

import posixpath
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from polyglossa.artifact import Artifact, Draft, open_storage
from polyglossa.evaluate.models.spec import ModelSpec
from polyglossa.evaluate.scoring.result_card import model_card
from polyglossa.evaluate.scoring.retention import mean_retention
from polyglossa.evaluate.scoring.statistics import Samples, interval, mean_interval
from polyglossa.evaluate.scoring.summary import scripts_of, summarise
from polyglossa.evaluate.scoring.task_result import TaskResult
from polyglossa.recipe.sections.evaluate import EvaluateConfig

_SAMPLES = pa.schema(
    [
        pa.field("subset", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("gold", pa.float64()),
    ]
)


def write_outcome(
    draft: Draft,
    spec: ModelSpec,
    facts: Any,
    config: EvaluateConfig,
    task_results: Sequence[TaskResult],
    metrics: Mapping[str, str],
    language_names: Mapping[str, str],
    benchmarks: Sequence[tuple[str, str]] = (),
    notices: Mapping[str, Sequence[str]] | None = None,
    *,
    judged_as: Mapping[str, Any] | None = None,
    trained_on: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Write everything into the draft.

    Args:
        draft: the artifact in the making.
        spec: the model; where it comes from decides which tasks are marked as contaminated.
        facts: what the worker found out of it (`worker.ModelFacts`).
        config: how many resamples stand behind an interval.
        task_results: one per task, in the order of the summary.
        metrics: how the recipe calls a task's main score, where it does.
        language_names: English names by code.
        benchmarks: whole benchmarks that were asked for, a pair (benchmark, task) for each of their tasks.
        notices: what to know of a task's data beside its score.
        judged_as: the conditions, where they were another model's.
        trained_on: by benchmark, what models of mteb's list were trained on of its tasks.
    """
    evaluated = [task_result for task_result in task_results if task_result.reason is None]
    folder = ("results", spec.name.replace("/", "__"), spec.revision)
    for task_result in evaluated:
        draft.write_json(task_result.result, *folder, f"{task_result.task}.json")
        write_samples(draft, task_result.task, task_result.samples)
    draft.write_json(facts.meta, *folder, "model_meta.json")
    clean = clean_tasks(spec, config, [task_result.task for task_result in evaluated])
    tasks = {one.task: _task(one, facts.dim, config, metrics.get(one.task), one.task not in clean) for one in evaluated}
    for task, said in (notices or {}).items():
        if task in tasks:
            tasks[task]["notices"] = list(said)
    languages = scripts_of([task_result.result for task_result in evaluated])
    failed = {task_result.task: task_result.reason for task_result in task_results if task_result.reason is not None}
    summary = {
        "model": spec.name,
        "revision": spec.revision,
        "parameters": facts.parameters,
        "dim": facts.dim,
        "mean": fmean(task["mean"] for task in tasks.values()) if tasks else None,
        "mean_interval": _mean_interval(evaluated, config),
        "tasks": tasks,
        "failed": failed,
        "benchmarks": _benchmarks(benchmarks, tasks, trained_on or {}),
        "languages": {
            subset: {"script": script, "name": language_names.get(code, code)}
            for subset, (code, script) in languages.items()
        },
    }
    kept = mean_retention(tasks, facts.dim)
    if kept:
        summary["retention"] = kept
    if judged_as is not None:
        summary["judged_as"] = dict(judged_as)
    draft.write_json(summary, "summary.json")
    _write_text(draft, model_card(summary), "README.md")
    draft.count(tasks=len(tasks), failed=len(failed), **{task: figures["mean"] for task, figures in tasks.items()})


def _benchmarks(
    members: Sequence[tuple[str, str]],
    tasks: Mapping[str, Mapping[str, Any]],
    trained_on: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Mean over the tasks of each benchmark, how many of them it leaves out, and who was trained on which of them."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(benchmark for benchmark, _ in members):
        wanted = [task for benchmark, task in members if benchmark == name]
        means = [tasks[task]["mean"] for task in wanted if task in tasks]
        left_out = len(wanted) - len(means)
        found[name] = {"mean": fmean(means) if means else None, "tasks": len(means), "left_out": left_out}
        if name in trained_on:
            found[name]["trained_on"] = dict(trained_on[name])
    return found


def clean_tasks(spec: ModelSpec, config: EvaluateConfig, tasks: Sequence[str]) -> set[str]:
    """Of which of some tasks the texts stayed out of all that a model learned from, as far as that is known."""
    if spec.provenance is None:
        return set()
    paths = {task.name: posixpath.join(config.data, task.path) for task in config.local}
    return {name for name in tasks if spec.provenance.keeps_out(name, paths.get(name))}


def read_samples(evaluation: Artifact, task: str) -> dict[str, Samples]:
    """Read the samples of a task back from an evaluation; empty where its score is no mean over samples."""
    filesystem, path = open_storage(evaluation.at("samples", f"{task}.parquet"))
    table = pq.read_table(path, filesystem=filesystem)
    found: dict[str, tuple[list[float], list[float]]] = {}
    columns = (table[name].to_pylist() for name in ("subset", "score", "gold"))
    for subset, score, gold in zip(*columns, strict=True):
        scores, golds = found.setdefault(subset, ([], []))
        scores.append(score)
        if gold is not None:
            golds.append(gold)
    return {subset: Samples(scores, golds or None) for subset, (scores, golds) in found.items()}


def _task(
    task_result: TaskResult, dim: int, config: EvaluateConfig, metric: str | None, unclean: bool
) -> dict[str, Any]:
    figures = summarise(
        metric or task_result.metric, task_result.result, task_result.widths, dim, task_result.compressed
    )
    figures["type"] = task_result.type
    figures["contaminated"] = unclean
    if task_result.samples:
        figures["interval"] = list(interval(task_result.samples, resamples=config.resamples, seed=config.seed))
    return figures


def _mean_interval(evaluated: Sequence[TaskResult], config: EvaluateConfig) -> list[float] | None:
    """Interval of the mean over tasks, where every task has samples."""
    if not evaluated or not all(task_result.samples for task_result in evaluated):
        return None
    tasks = {task_result.task: task_result.samples for task_result in evaluated}
    return list(mean_interval(tasks, resamples=config.resamples, seed=config.seed))


def write_samples(draft: Draft, task: str, samples: Mapping[str, Samples]) -> None:
    """Write the samples of a task, as `read_samples` reads them back."""
    rows = [
        {"subset": subset, "score": score, "gold": one.gold[row] if one.gold is not None else None}
        for subset, one in sorted(samples.items())
        for row, score in enumerate(one.score)
    ]
    filesystem, path = open_storage(draft.at("samples", f"{task}.parquet"))
    pq.write_table(pa.Table.from_pylist(rows, _SAMPLES), path, filesystem=filesystem, compression="zstd")


def _write_text(draft: Draft, text: str, *parts: str) -> None:
    filesystem, path = open_storage(draft.at(*parts))
    with filesystem.open_output_stream(path) as stream:
        stream.write(text.encode())
