"""What finished pieces say to the next step: counts by part and run, which groups a run touches, where a group lies."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from polyglossa.pack.layout import SPLITS, Group, Job, most_examples
from polyglossa.pack.steps import Cut, FilePlan, Plan
from polyglossa.scratch.task_store import TaskStore

_COUNTED = {"pairs": "pairs", "without_positive": "pairs_without_positive"}
_INSTRUCTED = ("instructions", "document_instructions")
Examples = Counter[tuple[int, int]]
"""Examples by part and run."""


def count_examples(read: Sequence[TaskStore]) -> Examples:
    """Add up the examples that were read."""
    examples: Examples = Counter()
    for work in read:
        for part, run, count in work.figures()["examples"]:
            examples[part, run] += count
    return examples


def describe_parts(
    plan: Plan, read: Sequence[TaskStore], ordered: Sequence[TaskStore]
) -> dict[tuple[str, str], dict[str, Any]]:
    """Add up the figures of each (source, split) for the index."""
    figures: list[dict[str, Any]] = [
        dict.fromkeys(_COUNTED.values(), 0) | {name: Counter() for name in _INSTRUCTED} for _ in plan.parts
    ]
    for work in read:
        said = work.figures()
        for name, figure in _COUNTED.items():
            for part, count in said[name]:
                figures[part][figure] += count
    for work in ordered:
        for part, said in work.figures()["instructions"]:
            for name in _INSTRUCTED:
                figures[part][name].update(said[name])
    return {(part.source, part.split): own for part, own in zip(plan.parts, figures, strict=True)}


def packed_examples(plan: Plan, jobs: Sequence[Job], examples: Examples) -> dict[tuple[str, str], int]:
    """Count the examples that are packed, by (source, part)."""
    totals: Counter[tuple[str, str]] = Counter()
    for (number, _), count in examples.items():
        part = plan.parts[number]
        totals[part.source, part.split] += count
    found = {}
    for job in jobs:
        total = totals[job.source, SPLITS[job.part]]
        # Shuffled by hash, so the first ones are a fair sample.
        found[job.source, job.part] = min(total, most_examples(plan.config, job.part) or total)
    return found


def cut_runs(
    plan: Plan, jobs: Sequence[Job], groups: Sequence[Sequence[Group]], examples: Examples
) -> list[tuple[Cut, ...]]:
    """Say of each run which parts it holds, and which groups they touch."""
    of_part: defaultdict[tuple[str, str], list[Group]] = defaultdict(list)
    for job, own in zip(jobs, groups, strict=True):
        of_part[job.source, SPLITS[job.part]] += own
    cuts: list[list[Cut]] = [[] for _ in range(plan.runs)]
    for number, part in enumerate(plan.parts):
        first, own = 0, of_part[part.source, part.split]
        for run in range(part.first_run, part.first_run + part.runs):
            last = first + examples[number, run]
            touched = tuple(group for group in own if group.start < last and group.stop > first)
            cuts[run].append(Cut(number, first, touched))
            first = last
    return [tuple(cut) for cut in cuts]


def plan_packing(
    jobs: Sequence[Job], groups: Sequence[Sequence[Group]], ordered: Sequence[TaskStore], bundle_rows: int
) -> list[FilePlan]:
    """Say of each file where the examples of its groups lie."""
    places: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
    for work in ordered:
        uri = work.at("examples.arrow")
        for place, group in enumerate(work.figures()["groups"]):
            places[group].append((uri, place))
    return [
        FilePlan(job, tuple((group.number, group.start // bundle_rows, tuple(places[group.number])) for group in own))
        for job, own in zip(jobs, groups, strict=True)
    ]


def packed_files(
    packed: Sequence[TaskStore], plans: Sequence[Sequence[FilePlan]]
) -> list[tuple[str, Mapping[str, Any]]]:
    """Where each file of the artifact was written, and its figures, in order."""
    return [
        (work.at(file.job.path), figures)
        for work, own in zip(packed, plans, strict=True)
        for file, figures in zip(own, work.figures()["files"], strict=True)
    ]
