"""The corpus stage on Ray Data: read → unique → [sketch → edges → components] → judge → emit → documents → publish.

    run(recipe.corpus, {}, draft, profile.corpus)

What flows through Ray Data are descriptions of shards and buckets; rows stay in files beside the artifact, so memory
does not grow with the corpus, and each finished piece is committed (`scratch.Steps`): after a crash only the others are
done again. Layout: `documents/`, `pairs/<source>/`, `rejects/`, `heldout/<set>/`, `heldout/documents.parquet`,
`sources.json`, `decontamination.json`, `report/`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from polyglossa.artifact import Artifact, Draft, clear
from polyglossa.corpus import row_accounting
from polyglossa.corpus.clean.evaluation_texts import evaluation_sets, set_files
from polyglossa.corpus.clean.written_instructions import DOCUMENTS
from polyglossa.corpus.sources.per_file import expand_sources
from polyglossa.corpus.sources.shards import plan_shards
from polyglossa.corpus.sources.source import Shard
from polyglossa.corpus.sources.synthetic import as_written
from polyglossa.corpus.steps import decontaminate, near_duplicates, publish, tasks
from polyglossa.corpus.steps.decontaminate import KeptOut
from polyglossa.corpus.steps.tasks import Plan
from polyglossa.readers.files import File
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.corpus import CorpusConfig, EvaluationSet
from polyglossa.recipe.sections.sources import ReadSource
from polyglossa.runtime.console import track
from polyglossa.scratch.steps import Steps, digest
from polyglossa.scratch.task_store import TaskStore

STAGE = "corpus"
REVISION = 4

BUCKET_BYTES = 32 * 2**20
"""Stored bytes of the sources for which one more bucket is made."""
MIN_BUCKETS = 4
_READING = 2
"""Raised when the same files give other rows. What is made from a corpus goes by its content, so where no row has
changed nothing else is made anew."""


def run(config: CorpusConfig, inputs: Mapping[str, Artifact], draft: Draft, placement: StagePlacement) -> None:
    """Make the corpus artifact.

    Args:
        config: the recipe's `corpus` section.
        inputs: `evaluation_texts` where `decontamination.tasks` names tasks; `synthetic:<source>` for each source that
            a language model wrote.
        draft: where it is written; finished pieces are kept beside it until all is.
        placement: CPUs of a task.
    """
    config = expand_sources(as_written(config, inputs))
    shards = plan_shards(config)
    sets = evaluation_sets(config.decontamination, inputs.get("evaluation_texts"))
    buckets = max(MIN_BUCKETS, -(-sum(shard.size for shard in shards) // BUCKET_BYTES))
    plan = Plan(config, row_sources(config), buckets)
    passes = 4 + 2 * (config.near_duplicates is not None)
    with track("corpus", total=len(shards) + len(sets) + passes * buckets, unit="pieces") as bar:
        root = f"{draft.uri.rstrip('/')}.work"
        lineage = digest([STAGE, REVISION, config.model_dump(mode="json"), buckets, *_reading(config)])
        steps = Steps(root, lineage, plan, placement, bar)
        _curate(steps, shards, sets, draft)
    clear(root)


def _curate(steps: Steps, shards: Sequence[Shard], sets: Sequence[EvaluationSet], draft: Draft) -> None:
    buckets = list(range(steps.plan.buckets))
    every = len(buckets)
    data = steps.plan.config.data
    readings = steps.run("read", tasks.read, shards, shape=Shard.identity)
    row_accounting.check_readable(readings, shards, steps.plan.config)
    rows = [work.at(f"rows-{part:05}.arrow") for work in readings for part in range(work.figures()["parts"])]
    found = row_accounting.written_instructions(readings)
    written = tuple(source for source, figures in found.items() if figures[DOCUMENTS])
    steps.plan = replace(steps.plan, rows=tuple(rows), written=written)
    uniques = steps.run("unique", tasks.unique, buckets)
    near = _near_duplicates(steps, uniques) if steps.plan.config.near_duplicates else None
    drops = [near.at(f"drop-{bucket:05}.npy") for bucket in buckets] if near is not None else [None] * every
    read_sets = [(evaluation, set_files(evaluation, data)) for evaluation in sets]
    indexes = steps.run("index", decontaminate.index, read_sets, shape=_shape_of_set)
    kept_out = KeptOut(
        secret=tuple(work.at("secret.npy") for work in readings),
        sets=tuple((evaluation.name, work.at("")) for evaluation, work in zip(sets, indexes, strict=True)),
    )
    filtered = steps.run("judge", decontaminate.decontaminate, buckets, uniques, drops, [kept_out] * every)
    thresholds = row_accounting.thresholds(filtered, steps.plan)
    emitted = steps.run("emit", tasks.emit, buckets, filtered, [thresholds] * every)
    files = [work.at("documents.arrow") for work in emitted]
    documents = steps.run("documents", tasks.documents, buckets, [files] * every)
    made = publish.Made(steps.plan, readings, uniques, filtered, emitted, documents, indexes, near)
    publish.publish(draft, made, revision=REVISION)


def _near_duplicates(steps: Steps, uniques: Sequence[TaskStore]) -> TaskStore:
    """Find near-duplicates: work with a file of the places to drop for each bucket."""
    buckets = list(range(steps.plan.buckets))
    sketched = steps.run("sketch", near_duplicates.sketch, buckets, uniques)
    bands = [work.at("bands.arrow") for work in sketched]
    edged = steps.run("edges", near_duplicates.edges, buckets, [bands] * len(buckets))
    files = [work.at("edges.npy") for work in edged]
    (work,) = steps.run("components", near_duplicates.components, [0], [sketched], [files])
    return work


def input_fingerprint(config: CorpusConfig) -> str:
    """Hash names, sizes and times of all files that the recipe names, for the artifact's key: new data, new corpus."""
    data = config.data
    files = [shard.identity() for shard in plan_shards(expand_sources(config))]
    sets = [asdict(file) for evaluation in config.decontamination.sets for file in set_files(evaluation, data)]
    return digest([files, sets, *_reading(config)])


def _reading(config: CorpusConfig) -> list[int]:
    """Name how files are read: corpora of embedded sources alone have none, and stay what they are when it changes."""
    return [_READING] if any(isinstance(source, ReadSource) for source in config.sources) else []


def row_sources(config: CorpusConfig) -> tuple[str, ...]:
    """Names that rows carry, in recipe order."""
    return tuple(name for source in config.sources for name in source.row_sources)


def _shape_of_set(item: tuple[EvaluationSet, Sequence[File]]) -> Any:
    """An evaluation set and its files as the JSON value that tells it from the others."""
    evaluation, files = item
    return [evaluation.model_dump(mode="json"), [asdict(file) for file in files]]
