"""The stage `own`: one's own held-out part, before and after, beside BM25; what was lost elsewhere; what looks wrong.

Inputs: `evaluate` and `evaluate:start` (evaluations), `model` and `start` (model artifacts), `corpus`, and `bm25`.
Writes `own.json`, `own.html`, `doubtful.parquet` and `examples.parquet`. The two models rank the questions in two Ray
tasks; texts that evaluation embedded are read from the vector store.

This file loads no torch: it is read to work out the artifact's key; its tasks load what runs a model.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from polyglossa.artifact import Artifact, Draft, exists, open_artifact, open_storage
from polyglossa.evaluate.plan import files_fingerprint, place_paths
from polyglossa.evaluate.scoring.outcome import read_samples
from polyglossa.own.advice import is_worth_averaging, propose_average
from polyglossa.own.comparison import elsewhere_figures, own_figures
from polyglossa.own.examples import doubtful_labels, examples
from polyglossa.own.page import render_own
from polyglossa.own.questions import Questions, read_questions
from polyglossa.own.ranking import Ranking
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.own import OwnStage
from polyglossa.runtime.console import track
from polyglossa.runtime.nodes import stage_precision
from polyglossa.runtime.ray_tasks import results

STAGE = "own"
REVISION = 1

_DOUBTFUL = pa.schema(
    [
        pa.field("task", pa.string()),
        pa.field("kind", pa.string()),  # label | several_answers | repeated
        pa.field("part", pa.string()),
        pa.field("query", pa.string()),
        pa.field("answers", pa.list_(pa.string())),
        pa.field("rank_before", pa.int64()),
        pa.field("rank_after", pa.int64()),
        pa.field("found_before", pa.string()),
        pa.field("found_after", pa.string()),
        pa.field("times", pa.int64()),
    ]
)
_PAGE_ROWS = 200
"""Doubtful rows of a kind on the page; the Parquet file holds all."""


def run(config: OwnStage, inputs: Mapping[str, Artifact], draft: Draft, placement: StagePlacement) -> None:
    """Compare, and write what convinces and what is doubtful.

    Args:
        config: the recipe's `own` section, settled.
        inputs: see above.
        draft: takes the results.
        placement: what each of the tasks may use.
    """
    found = _compared(config, inputs)
    asked = [
        one
        for task in config.local
        if (one := read_questions(place_paths(task, config.data), Path(config.folder), config.most_training_queries))
    ]
    with track(STAGE, total=4, unit="steps") as bar:
        bar.note("rankings")
        before, after = _rankings(config, asked, inputs, draft, placement)
        bar.advance(2)
        shown = _examples(config, asked, before, after, inputs)
        doubts = _doubts(config, asked, before, after)
        bar.advance()
        bar.note("averages")
        found |= _averages(config, found, inputs, placement)
        bar.advance()
    draft.write_json({**found, "doubtful": _counted(doubts)}, "own.json")
    _write(draft, pa.Table.from_pylist(doubts, _DOUBTFUL), "doubtful.parquet")
    draft.write_json(shown, "examples.json")
    page = render_own({**found, "examples": shown, "doubtful": _for_page(doubts)})
    filesystem, path = open_storage(draft.at("own.html"))
    with filesystem.open_output_stream(path) as stream:
        stream.write(page.encode())
    gains = {
        task: figures["against"][config.start]["difference"]
        for task, figures in found["tasks"].items()
        if config.start in figures.get("against", {})
    }
    draft.count(**{f"gain {task}": gain for task, gain in gains.items()}, doubtful=len(doubts))


def input_fingerprint(config: OwnStage) -> str | None:
    """Hash the files of the tasks, for the artifact's key."""
    return files_fingerprint(config.local, config.data)


def _compared(config: OwnStage, inputs: Mapping[str, Artifact]) -> dict[str, Any]:
    how = {"resamples": config.resamples, "seed": config.seed}
    ours, start = inputs["evaluate"], inputs["evaluate:start"]
    others = {config.start: start}
    if "bm25" in inputs:
        others["BM25"] = inputs["bm25"]
    previous, reason = _previous(config, ours)
    if previous is not None:
        others[PREVIOUS] = previous
    return {
        "member": config.member,
        "start": config.start,
        "previous_left_out": reason,
        "tasks": own_figures(config.tasks, ours, others, **how),
        "elsewhere": elsewhere_figures(config.tasks, ours, start, **how),
    }


PREVIOUS = "the promoted model"


def _previous(config: OwnStage, ours: Artifact) -> tuple[Artifact | None, str | None]:
    """The evaluation of the model promoted before, where it was judged by the same rows; else why not."""
    if config.previous is None:
        return None, None
    if not exists(config.previous.evaluation):
        return None, "its evaluation is no longer stored"
    found = open_artifact(config.previous.evaluation)
    same = found.manifest["config"].get("input_files") == ours.manifest["config"].get("input_files")
    return (found, None) if same else (None, "it was judged by other rows")


def _rankings(
    config: OwnStage,
    asked: Sequence[Questions],
    inputs: Mapping[str, Artifact],
    draft: Draft,
    placement: StagePlacement,
) -> tuple[list[Ranking], list[Ranking]]:
    """Rank the questions by the model as it came and as it is now, both at the same time."""
    if not asked:
        return [], []
    from polyglossa.own.worker import rank_questions

    dtype = stage_precision(None, placement).dtype
    root = draft.uri.rpartition("/artifacts/")[0]
    task = ray.remote(rank_questions).options(**placement.ray_options)
    held = ray.put(list(asked))
    both = [
        task.remote(
            inputs[role].at("model"), held, root, placement.torch_device, dtype, config.max_tokens, placement.threads
        )
        for role in ("start", "model")
    ]
    before, after = results(both)
    return before, after


def _examples(
    config: OwnStage,
    asked: Sequence[Questions],
    before: Sequence[Ranking],
    after: Sequence[Ranking],
    inputs: Mapping[str, Artifact],
) -> dict[str, Any]:
    shown = {}
    for questions, was, now in zip(asked, before, after, strict=True):
        first, last = (_scores(inputs[role], questions.task) for role in ("evaluate:start", "evaluate"))
        if len(first) == len(last) == questions.heldout:
            shown[questions.task] = examples(questions, was, now, first, last, config.examples)
    return shown


def _scores(evaluation: Artifact, task: str) -> list[float]:
    samples = read_samples(evaluation, task)
    return [score for _, one in sorted(samples.items()) for score in one.score]


def _doubts(
    config: OwnStage, asked: Sequence[Questions], before: Sequence[Ranking], after: Sequence[Ranking]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for questions, was, now in zip(asked, before, after, strict=True):
        rows += doubtful_labels(questions, was, now, config.doubtful_rank)
    for file in sorted((Path(config.folder) / "doubts").glob("*.parquet")):
        found = pq.read_table(file).to_pylist()
        rows += [{"task": file.stem, **row} for row in found]
    return rows


def _counted(doubts: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    kinds = [row["kind"] for row in doubts]
    return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


def _for_page(doubts: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    kinds = ("label", "several_answers", "repeated")
    return {kind: [row for row in doubts if row["kind"] == kind][:_PAGE_ROWS] for kind in kinds}


def _averages(
    config: OwnStage, found: Mapping[str, Any], inputs: Mapping[str, Artifact], placement: StagePlacement
) -> dict[str, Any]:
    """Try averages with the model as it came, where something was lost elsewhere."""
    if not (config.average_shares and config.elsewhere and is_worth_averaging(found["elsewhere"])):
        return {"averages": [], "proposal": None}
    from polyglossa.own.averages import judge_average

    task = ray.remote(judge_average).options(**placement.ray_options)
    trials = results(
        [
            task.remote(
                share,
                inputs["model"].at("model"),
                inputs["start"].at("model"),
                config.folder,
                inputs["corpus"],
                config.elsewhere,
                config.average_queries,
                placement.threads,
            )
            for share in sorted({0.0, *config.average_shares, 1.0})
        ]
    )
    return {"averages": trials, "proposal": propose_average(trials, config.member, config.start)}


def _write(draft: Draft, table: pa.Table, name: str) -> None:
    filesystem, path = open_storage(draft.at(name))
    pq.write_table(table, path, filesystem=filesystem, compression="zstd")
