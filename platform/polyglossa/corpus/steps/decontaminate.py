"""The steps that keep evaluation out: index (an evaluation set), judge (a bucket of rows)."""

import functools
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from polyglossa.corpus.clean.annotate import ROW
from polyglossa.corpus.clean.contamination import Contamination, EvaluationIndex, build_index
from polyglossa.corpus.clean.evaluation_texts import SetReading, texts_of
from polyglossa.corpus.pairs import query_hashes
from polyglossa.corpus.steps.tasks import Figures, Plan, reject
from polyglossa.readers.files import File
from polyglossa.recipe.sections.corpus import DecontaminationConfig, EvaluationSet
from polyglossa.scratch.task_store import TaskStore, read_array, read_bucket, write_array, write_table

_INDEX_ARRAYS = ("texts", "blocks", "spaceless_blocks")


def index(work: TaskStore, plan: Plan, item: tuple[EvaluationSet, Sequence[File]]) -> Figures:
    """Index the texts of one evaluation set."""
    evaluation, files = item
    settings = plan.config.decontamination
    read = SetReading()
    texts = texts_of(evaluation, files, read)
    built = build_index(evaluation.name, texts, settings.block_characters, settings.spaceless_block_characters)
    for name in _INDEX_ARRAYS:
        write_array(getattr(built, name), work.at(f"{name}.npy"))
    return {
        "name": evaluation.name,
        "texts": len(built.texts),
        "blocks": len(built.blocks) + len(built.spaceless_blocks),
        "rows": read.rows,
        "unreadable": dict(read.unreadable),
        "notices": read.notices,
    }


@dataclass(frozen=True)
class KeptOut:
    """Where the arrays lie that tell what must not be trained on."""

    secret: tuple[str, ...]
    """Files of hashes of the corpus's own held-out texts."""
    sets: tuple[tuple[str, str], ...]
    """Name and folder of each evaluation set's index."""


@functools.lru_cache(maxsize=1)
def _load(kept_out: KeptOut, settings: DecontaminationConfig) -> Contamination:
    """Read the arrays, once per worker process."""
    secret = np.unique(np.concatenate([np.zeros(0, np.uint64), *(read_array(uri) for uri in kept_out.secret)]))
    indexes = [
        EvaluationIndex(name, *(read_array(posixpath.join(folder, f"{array}.npy")) for array in _INDEX_ARRAYS))
        for name, folder in kept_out.sets
    ]
    return Contamination(secret, indexes, settings.block_characters, settings.spaceless_block_characters)


def decontaminate(
    work: TaskStore, plan: Plan, bucket: int, kept: TaskStore, near: str | None, kept_out: KeptOut
) -> Figures:
    """Drop near-duplicates, held-out texts and contaminated rows of one bucket; list the queries that remain.

    Args:
        work: where to write.
        plan: what every task knows.
        bucket: which bucket.
        kept: the bucket's work of step `unique`.
        near: array of the places, in `kept`, of near-duplicates to drop, or None.
        kept_out: what must not be trained on.
    """
    places = read_array(kept.at("keep.npy"))
    rows = read_bucket(plan.rows, bucket, ROW).take(pa.array(places))
    reasons = np.full(len(places), None, dtype=object)
    if near is not None:
        reasons[read_array(near)] = "near_duplicate"
    found = _load(kept_out, plan.config.decontamination).mark(rows, reasons)
    stays = np.array([reason is None for reason in reasons], bool)
    write_array(places[stays], work.at("keep.npy"))
    if plan.thins:
        write_table(query_hashes(rows.filter(pa.array(stays)), plan.config.seed), work.at("queries.parquet"))
    lost = rows.filter(pa.array(~stays))
    return {"rows": int(stays.sum()), "contaminated": found} | reject(work, lost, reasons[~stays].tolist())
