"""Account for rows: what came in, what left and why, and the limits that stop or thin a source. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.corpus.clean.sampling import quotas, threshold
from polyglossa.corpus.clean.written_instructions import DOCUMENTS, KEPT, LIFTED, QUERIES
from polyglossa.corpus.sources.source import Shard
from polyglossa.corpus.steps.tasks import Plan
from polyglossa.errors import DataError, PolyglossaError
from polyglossa.recipe.sections.corpus import CorpusConfig
from polyglossa.scratch.task_store import TaskStore, read_table

Counts = dict[str, dict[str, int]]


def check_readable(readings: Sequence[TaskStore], shards: Sequence[Shard], config: CorpusConfig) -> None:
    """Stop where a source lost more rows to reading than its recipe allows.

    Raises:
        DataError: it did.
    """
    rows: Counter[int] = Counter()
    unreadable: Counter[int] = Counter()
    for work, shard in zip(readings, shards, strict=True):
        figures = work.figures()
        rows[shard.source] += sum(figures["rows_in"].values())
        unreadable[shard.source] += figures["unreadable"]
    for index, entry in enumerate(config.sources):
        own = entry.max_rejected_share
        limit = config.max_rejected_share if own is None else own
        if unreadable[index] > limit * rows[index]:
            reasons = add_counts(
                work.figures()["rejects"] for work, shard in zip(readings, shards, strict=True) if shard.source == index
            )
            told = ", ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.get(entry.name, {}).items()))
            raise DataError(
                f"corpus source {entry.name!r}: {unreadable[index]:,} of {rows[index]:,} rows cannot be read ({told}); "
                f"at most a share of {limit} may. Mend the data, or raise `max_rejected_share`."
            )


def thresholds(filtered: Sequence[TaskStore], plan: Plan) -> dict[str, dict[str, int]]:
    """Decide which queries stay: source → language → largest hash. Sources that keep all are left out."""
    limits: dict[str, dict[str, int]] = {}
    if not plan.thins:
        return limits
    tables = [read_table(work.at("queries.parquet")) for work in filtered]
    queries = pa.concat_tables(tables)
    for source in plan.sources:
        mine = queries.filter(pc.equal(queries["source"], source))
        hashes = {
            language: np.unique(mine.filter(pc.equal(mine["language"], language))["hash"].to_numpy())
            for language in sorted(mine["language"].unique().to_pylist())
        }
        room = quotas(
            {language: len(values) for language, values in hashes.items()}, plan.cap_of(source), plan.config.sampling
        )
        if sum(room.values()) < sum(map(len, hashes.values())):
            limits[source] = {language: threshold(values, room[language]) for language, values in hashes.items()}
    return limits


def written_instructions(readings: Sequence[TaskStore]) -> Counts:
    """Add up, by source, what was found of instructions that rows hold already; sources without any are left out."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    rows: Counter[str] = Counter()
    for figures in (work.figures() for work in readings):
        found[figures["source"]].update(figures["written"])
        rows[figures["source"]] += sum(figures["rows_in"].values())
    return {
        source: {QUERIES: rows[source], **{name: counts[name] for name in (LIFTED, KEPT, DOCUMENTS)}}
        for source, counts in sorted(found.items())
        if counts
    }


def add_counts(figures: Iterable[Mapping[str, Mapping[str, int]]]) -> Counts:
    """Add up counts by two keys."""
    total: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for counts in figures:
        for outer, inner in counts.items():
            total[outer].update(inner)
    return {outer: dict(sorted(inner.items())) for outer, inner in sorted(total.items())}


def reconcile(rows_in: Mapping[str, int], rows_out: Mapping[str, int], rejects: Counts) -> None:
    """Check, source by source, that every row that came in left somewhere.

    Raises:
        PolyglossaError: a row is unaccounted for.
    """
    for source, came in rows_in.items():
        left, dropped = rows_out.get(source, 0), sum(rejects.get(source, {}).values())
        if came != left + dropped:
            raise PolyglossaError(f"corpus: source {source!r}: {came} rows in, but {left} out and {dropped} rejected.")


def sum_entries(figures: Iterable[Mapping[str, Any]], key: str) -> dict[str, int]:
    """Add up one entry of many figures, itself a count by name."""
    total: Counter[str] = Counter()
    for one in figures:
        total.update(one[key])
    return dict(sorted(total.items()))
