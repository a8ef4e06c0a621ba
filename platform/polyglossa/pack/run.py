"""The pack stage: every source's training and validation rows as token bundles, packed in pieces on Ray Data.

    run(PackConfig.of(stage), {"corpus": …, "backbone": …, "mine": …}, draft, profile.pack)

read → sort; documents → answer (the texts that each group of examples wants); pack. Rows stay in files beside the
artifact (`scratch.Steps`), so memory does not grow with the corpus, and what is finished is not done again.

Layout: `bundles/<source>.parquet` and `validation/<source>.parquet`, one row group per bundle (a source of more than
half a million pairs goes on in `<source>.00001.parquet` …), and `index.json` with every bundle's size, so that a plan
is made without reading data. A pack of texts, for teachers from outside, is the same without a tokenizer.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.fs as pafs

from polyglossa.artifact import Artifact, Draft, clear, open_storage
from polyglossa.pack import pieces, steps
from polyglossa.pack.index import write_index
from polyglossa.pack.layout import SPLITS, Job, Sizes, groups_of, plan_files, plan_parts
from polyglossa.pack.steps import Plan
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.pack import PackConfig
from polyglossa.runtime.console import track
from polyglossa.scratch.steps import Steps, digest
from polyglossa.storage import place_file

STAGE = "pack"
REVISION = 2

_PACKED_TOGETHER = 16_384  # pairs of small files that one task packs
Files = Sequence[tuple[str, str, int]]


def run(
    config: PackConfig,
    inputs: Mapping[str, Artifact],
    draft: Draft,
    placement: StagePlacement,
    sizes: Sizes | None = None,
) -> None:
    """Make the pack artifact.

    Args:
        config: which rows, how they are rendered and cut.
        inputs: `corpus` (documents, pairs), `backbone` (tokenizer; not for texts) and, for mined negatives, `mine`
            (pairs).
        draft: where it is written; finished pieces are kept beside it until all is.
        placement: CPUs of a task.
        sizes: how much one task takes; all but `file_pairs` shape no byte of the artifact.
    """
    sizes = sizes or Sizes()
    jobs = plan_files(config, inputs, sizes.file_pairs)
    described = inputs["corpus"].read_json("sources.json")
    parts = plan_parts(jobs, described, sizes.run_pairs)
    mined = config.hard_negatives and "mine" in inputs
    pairs = [
        (source, *file)
        for source in dict.fromkeys(job.source for job in jobs)
        for file in _files(inputs["mine" if mined else "corpus"].at("pairs", source))
    ]
    texts = [("", *file) for file in _files(inputs["corpus"].at("documents"))]
    stored = sum(size for _, _, size in texts)
    plan = Plan(
        config,
        None if config.texts else inputs["backbone"].at("model"),
        tuple(parts),
        max(part.first_run + part.runs for part in parts),
        max(1, -(-stored // sizes.document_bytes)),
    )
    readings, holdings = _batches(pairs, sizes.read_bytes), _batches(texts, sizes.read_bytes)
    together = _together(jobs, described)
    total = len(readings) + plan.runs + len(holdings) + plan.buckets + len(together)
    root = f"{draft.uri.rstrip('/')}.work"
    with track("pack", total=total, unit="pieces") as bar:
        lineage = digest([STAGE, REVISION, config.model_dump(mode="json"), str(sizes)])
        little = stored + sum(size for _, _, size in pairs) <= sizes.driver_bytes
        _pack(Steps(root, lineage, plan, placement, bar, in_driver=little), jobs, together, readings, holdings, draft)
    clear(root)


def _pack(
    run: Steps,
    jobs: Sequence[Job],
    together: Sequence[range],
    readings: Sequence[Files],
    holdings: Sequence[Files],
    draft: Draft,
) -> None:
    plan: Plan = run.plan
    read = run.run("read", steps.read, [[file[:2] for file in files] for files in readings])
    rows, examples = steps.rows_files(read), pieces.count_examples(read)
    groups = groups_of(jobs, pieces.packed_examples(plan, jobs, examples), plan.config.bundle_rows)
    cuts = pieces.cut_runs(plan, jobs, groups, examples)
    ordered = run.run("sort", steps.sort, range(plan.runs), cuts, [rows] * plan.runs)
    held = run.run("documents", steps.documents, [[file[1] for file in files] for files in holdings])
    known = (steps.rows_files(held), [work.at("requests.arrow") for work in ordered], sum(map(len, groups)))
    answered = run.run("answer", steps.answer, range(plan.buckets), *([each] * plan.buckets for each in known))
    plans = pieces.plan_packing(jobs, groups, ordered, plan.config.bundle_rows)
    packing = [plans[numbers.start : numbers.stop] for numbers in together]
    texts = [[work.at("texts.arrow") for work in answered]] * len(packing)
    packed = run.run("pack", steps.pack, packing, texts, shape=lambda files: [file.job.path for file in files])
    described = pieces.describe_parts(plan, read, ordered)
    results = []
    for job, (uri, figures) in zip(jobs, pieces.packed_files(packed, packing), strict=True):
        results.append({**described[job.source, SPLITS[job.part]], **figures})
        if figures["bundles"]:
            place_file(uri, draft.at(job.path))
    write_index(plan.config, jobs, results, plan.model_uri, draft)


def _files(uri: str) -> list[tuple[str, int]]:
    """Parquet files of a folder and their bytes, by name."""
    filesystem, path = open_storage(uri)
    found = filesystem.get_file_info(pafs.FileSelector(path))
    names = sorted((info.base_name, info.size) for info in found if info.base_name.endswith(".parquet"))
    return [(f"{uri}/{name}", size) for name, size in names]


def _batches(files: Files, limit_bytes: int) -> list[Files]:
    """Put small files together, in order."""
    batches: list[list[tuple[str, str, int]]] = []
    held = 0
    for file in files:
        if not batches or held + file[2] > limit_bytes:
            batches.append([])
            held = 0
        batches[-1].append(file)
        held += file[2]
    return list(batches)


def _together(jobs: Sequence[Job], described: Mapping[str, Any]) -> list[range]:
    """Numbers of the files that one task packs."""
    tasks: list[range] = []
    held = 0
    for number, job in enumerate(jobs):
        pairs = described[job.source]["rows"][SPLITS[job.part]] // job.shards
        if not tasks or held + pairs > _PACKED_TOGETHER:
            tasks.append(range(number, number))
            held = 0
        tasks[-1] = range(tasks[-1].start, number + 1)
        held += pairs
    return tasks
