"""The last step: gather the finished pieces into the artifact, write its accounts, and check that they reconcile."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq
import xxhash

from polyglossa.artifact import Draft, exists, open_storage, read_json
from polyglossa.corpus import statistics
from polyglossa.corpus.card.figures import card_data, render_card
from polyglossa.corpus.clean.written_instructions import describe
from polyglossa.corpus.instructions import SYMMETRIC_TASKS
from polyglossa.corpus.row_accounting import add_counts, reconcile, sum_entries, written_instructions
from polyglossa.corpus.steps.tasks import Plan
from polyglossa.records import DOCUMENT, PAIR, REJECT
from polyglossa.runtime.console import say
from polyglossa.scratch.task_store import TaskStore, read_table, write_table


@dataclass(frozen=True)
class Made:
    """All finished work of a run."""

    plan: Plan
    readings: Sequence[TaskStore]
    uniques: Sequence[TaskStore]
    filtered: Sequence[TaskStore]
    emitted: Sequence[TaskStore]
    documents: Sequence[TaskStore]
    indexes: Sequence[TaskStore]
    near: TaskStore | None
    """Work that found near-duplicates, if the recipe asks for it."""


def publish(draft: Draft, made: Made, *, revision: int) -> None:
    """Write the artifact; children know it by its content, so files that were only touched change nothing for them."""
    content = xxhash.xxh3_128(f"{revision} {made.plan.config.model_dump_json()}".encode())
    _copy_parts(draft, made, content)
    _copy_heldout(draft, made, content)
    draft.identity = content.hexdigest()[:16]
    sources = describe_sources(made)
    draft.write_json(sources, "sources.json")
    figures = account_of(made)
    reconcile(
        figures["rows_in"], {name: sum(one["rows"].values()) for name, one in sources.items()}, figures["rejects"]
    )
    draft.write_json(figures, "account.json")
    for notice in figures["notices"]:
        say(f"  {notice}")
    _write_card(draft, made, figures, sources)
    reasons: dict[str, int] = {}
    for counts in figures["rejects"].values():
        for reason, count in counts.items():
            reasons[reason] = reasons.get(reason, 0) + count
    draft.count(
        rows_in=sum(figures["rows_in"].values()),
        rows_out=sum(sum(one["rows"].values()) for one in sources.values()),
        rejects=dict(sorted(reasons.items())),
        documents=sum(work.figures()["documents"] for work in made.documents),
    )


def _write_card(draft: Draft, made: Made, account: dict[str, Any], sources: dict[str, Any]) -> None:
    lengths, tokens = (
        statistics.add_tables([read_table(work.at(f"{name}.parquet")) for work in made.emitted])
        for name in ("lengths", "tokens")
    )
    samples = {
        source: statistics.first_rows([read_table(work.at(f"sample-{source}.parquet")) for work in works])
        for source in made.plan.sources
        if (works := [work for work in made.emitted if source in work.figures()["sources"]])
    }
    data = card_data(account, sources, lengths, tokens, samples, made.plan.config.tokenizer)
    draft.write_json(data, "report", "corpus.json")
    filesystem, path = open_storage(draft.at("report", "corpus.html"))
    with filesystem.open_output_stream(path) as stream:
        stream.write(render_card(data).encode())


def _copy_parts(draft: Draft, made: Made, content: xxhash.xxh3_128) -> None:
    for bucket, work in enumerate(made.emitted):
        for source in made.plan.sources:
            _copy(work.at(f"pairs-{source}.parquet"), draft, content, "pairs", source, f"part-{bucket:05}.parquet")
    for source in made.plan.sources:  # a source of which nothing is left still has its folder and schema
        if not any(source in work.figures()["sources"] for work in made.emitted):
            write_table(PAIR.empty_table(), draft.at("pairs", source, "part-00000.parquet"))
    for bucket, work in enumerate(made.documents):
        _copy(work.at("documents.parquet"), draft, content, "documents", f"part-{bucket:05}.parquet")
    _join((work.at("heldout.parquet") for work in made.documents), DOCUMENT, draft.at("heldout", "documents.parquet"))
    steps = {"read": made.readings, "unique": made.uniques, "judge": made.filtered, "emit": made.emitted}
    for step, works in steps.items():
        files = [work.at("rejects.parquet") for work in works if any(work.figures()["rejects"].values())]
        _join(files, REJECT, draft.at("rejects", f"{step}.parquet"))


def _copy(uri: str, draft: Draft, content: xxhash.xxh3_128, *parts: str) -> None:
    if exists(uri):
        filesystem, path = open_storage(uri)
        target_filesystem, target = open_storage(draft.at(*parts))
        with filesystem.open_input_stream(path) as source, target_filesystem.open_output_stream(target) as sink:
            read = source.read()
            content.update("/".join(parts).encode())
            content.update(read)
            sink.write(read)


def _join(uris: Iterable[str], schema: Any, uri: str) -> None:
    """Write many small Parquet files as one, a file at a time."""
    filesystem, path = open_storage(uri)
    with filesystem.open_output_stream(path) as sink, pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for part in uris:
            writer.write_table(read_table(part), row_group_size=65_536)


def _copy_heldout(draft: Draft, made: Made, content: xxhash.xxh3_128) -> None:
    for work in made.readings:
        if exists(work.at("heldout/task.json")):
            name = read_json(work.at("heldout/task.json"))["name"]
            for file in ("queries.parquet", "corpus.parquet", "task.json"):
                _copy(work.at(f"heldout/{file}"), draft, content, "heldout", name, file)


def describe_sources(made: Made) -> dict[str, Any]:
    """What each source holds: its task, rows by split, languages."""
    described: dict[str, Any] = {}
    emitted = [work.figures()["sources"] for work in made.emitted]
    for name in made.plan.sources:
        parts = [sources[name] for sources in emitted if name in sources]
        tasks = sorted(sum_entries(parts, "task"))
        described[name] = {
            "task": tasks[0] if len(tasks) == 1 else tasks or None,
            "symmetric": bool(tasks) and set(tasks) <= SYMMETRIC_TASKS,
            "rows": sum_entries(parts, "rows"),
            "languages": sum_entries(parts, "languages"),
        }
    return described


def notices_of(made: Made) -> list[str]:
    """What a person should know of the files: how quotes were read, what could not be, what judgements name in vain."""
    found = [notice for work in (*made.readings, *made.indexes) for notice in work.figures()["notices"]]
    for work in made.indexes:
        figures = work.figures()
        if figures["unreadable"]:
            told = ", ".join(f"{reason} {count:,}" for reason, count in sorted(figures["unreadable"].items()))
            lost = sum(figures["unreadable"].values())
            found.append(f"evaluation set {figures['name']}: {lost:,} of {figures['rows']:,} rows unread ({told}).")
    found += [describe(source, figures) for source, figures in written_instructions(made.readings).items()]
    return list(dict.fromkeys(found))


def account_of(made: Made) -> dict[str, Any]:
    """All figures about rows: in, rejected by reason, duplicates between sources, contamination by set, languages."""
    readings = [work.figures() for work in made.readings]
    steps = [work.figures() for works in (made.readings, made.uniques, made.filtered, made.emitted) for work in works]
    return {
        "rows_in": dict.fromkeys(made.plan.sources, 0) | sum_entries(readings, "rows_in"),
        "rejects": add_counts(step["rejects"] for step in steps),
        "duplicates": sum_entries([work.figures() for work in made.uniques], "between"),
        "near_duplicates": made.near.figures() if made.near is not None else None,
        "instructions": written_instructions(made.readings),
        "notices": notices_of(made),
        "decontamination": {
            "sets": {work.figures()["name"]: work.figures() for work in made.indexes},
            "removed": add_counts(work.figures()["contaminated"] for work in made.filtered),
        },
        "given_languages": add_counts(
            {figures["source"]: figures["checked"]} for figures in readings if any(figures["checked"].values())
        ),
    }
