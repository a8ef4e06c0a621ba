"""From tables of any layout to candidates: retrieval, bitext, clustering, classification and STS, as F2LLM-v2 has them.

Pure: tables in, candidates and bad rows out. Row-wise layouts (pairs, F2LLM) work on any batch; layouts that relate
rows to one another (long bitext, labelled text) want all rows of a sentence, or a fair sample of all labels.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TypedDict

import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.corpus.clean.language import canonical, named
from polyglossa.corpus.sources.candidates import CANDIDATE, candidate_table
from polyglossa.corpus.sources.translations import Translation, draw, pairs_of, translation_table
from polyglossa.corpus.splits import parted
from polyglossa.readers.rows import Bad
from polyglossa.readers.tables import Batch, Columns
from polyglossa.recipe.sections.sources import (
    BitextSource,
    DatasetSource,
    F2llmSource,
    LabelledSource,
    PairColumns,
    PairSource,
)

F2LLM_NEGATIVES = tuple(f"negative_{number}" for number in range(1, 25))


def pair_columns(columns: PairColumns) -> Columns:
    """What a reader must deliver for a mapping of columns."""
    required = {columns.query: "text", columns.positive: "texts", **dict.fromkeys(columns.negatives, "texts")}
    keys = (columns.group, columns.label, columns.split, columns.language, columns.positive_language, columns.script)
    required.update({name: "key" for name in keys if name})
    if columns.score:
        required[columns.score] = "number"
    if columns.instruction:
        required[columns.instruction] = "text"
    return Columns(required, {})  # type: ignore[arg-type]  # values are Cell names


def pair_candidates(batch: Batch, source: PairSource | DatasetSource) -> tuple[pa.Table, list[Bad]]:
    """Candidates of a batch with one pair per row, and the rows whose split is unknown."""
    columns = source.columns
    parts, bad = parted(batch.table, columns.split)
    tables = [_pairs(table, source, split) for split, table in parts]
    return (pa.concat_tables(tables) if tables else CANDIDATE.empty_table()), bad


def _pairs(table: pa.Table, source: PairSource | DatasetSource, split: str | None) -> pa.Table:
    columns = source.columns
    language = _column(table, columns.language)
    return candidate_table(
        {
            "query": table[columns.query],
            "query_language": language,
            "query_script": _column(table, columns.script),
            "positives": table[columns.positive],
            "positive_language": _column(table, columns.positive_language or columns.language),
            "positive_script": _column(table, columns.script) if not columns.positive_language else None,
            "negatives": join_lists([table[name] for name in columns.negatives]),
            "instruction": _column(table, columns.instruction),
            "group": _column(table, columns.group),
            "label": _column(table, columns.label),
            "score": _column(table, columns.score),
            "split": None if split is None else [split] * table.num_rows,
        },
        task=source.task,
        source=source.name,
    )


F2LLM_COLUMNS = Columns({"query": "text", "passage": "texts"}, dict.fromkeys(F2LLM_NEGATIVES, "texts"))


def f2llm_candidates(batch: Batch, source: F2llmSource, two_way: bool) -> pa.Table:
    """Candidates of the published layout; empty negatives are absent."""
    table = batch.table
    return candidate_table(
        {
            "query": table["query"],
            "positives": table["passage"],
            "negatives": join_lists([table[name] for name in F2LLM_NEGATIVES]),
        },
        task="classification" if two_way else source.task,
        source=source.name,
    )


def join_lists(columns: Sequence[pa.ChunkedArray]) -> list[list[str] | None] | None:
    """Join list columns row by row, without nulls and empty texts; a row with none is null."""
    if not columns:
        return None
    rows = zip(*(column.to_pylist() for column in columns), strict=True)
    return [[text for texts in row for text in texts or () if text] or None for row in rows]


def long_bitext_columns(source: BitextSource) -> Columns:
    """What a reader must deliver for a row per sentence and language."""
    keys = [source.index, source.language_column, source.script_column, source.split]
    return Columns({source.text: "text", **dict.fromkeys([name for name in keys if name], "key")}, {})


def wide_bitext_columns(source: BitextSource) -> Columns:
    """What a reader must deliver for a column per language."""
    return Columns({**dict.fromkeys(source.languages, "text"), **({source.split: "key"} if source.split else {})}, {})


def long_bitext_candidates(table: pa.Table, source: BitextSource, seed: int) -> tuple[pa.Table, list[Bad]]:
    """Pair the translations of each sentence; a text without a partner is bad (`no_partner`)."""
    parts, bad = parted(table, source.split)
    tables = [CANDIDATE.empty_table()]
    for split, rows in parts:
        candidates, unpaired = _long_pairs(rows, source, seed, split)
        tables.append(candidates)
        bad += unpaired
    return pa.concat_tables(tables), bad


def _long_pairs(table: pa.Table, source: BitextSource, seed: int, split: str | None) -> tuple[pa.Table, list[Bad]]:
    script = _column(table, source.script_column)
    columns = [table[source.index], table[source.language_column], table[source.text]]
    things: defaultdict[str, list[Translation]] = defaultdict(list)
    bad: list[Bad] = []
    for index, language, text, written in zip(
        *(column.to_pylist() for column in columns),
        script.to_pylist() if script is not None else [None] * table.num_rows,
        strict=True,
    ):
        if not (index and language and text):
            bad.append(Bad("empty", f"{index}\t{language}\t{text}"))
        else:
            things[index].append(Translation(index, named(language), written, text))
    return _pair(list(things.values()), source, seed, bad, split)


def wide_bitext_candidates(batch: Batch, source: BitextSource, seed: int) -> tuple[pa.Table, list[Bad]]:
    """Pair the translations of each row."""
    parts, bad = parted(batch.table, source.split)
    tables = [CANDIDATE.empty_table()]
    for split, rows in parts:
        candidates, unpaired = _wide_pairs(rows, source, seed, split)
        tables.append(candidates)
        bad += unpaired
    return pa.concat_tables(tables), bad


def _wide_pairs(table: pa.Table, source: BitextSource, seed: int, split: str | None) -> tuple[pa.Table, list[Bad]]:
    things: list[list[Translation]] = []
    for row in table.to_pylist():
        texts = {named(language): row[column] for column, language in source.languages.items() if row[column]}
        thing = f"{draw(seed, *texts.values()):016x}"
        things.append([Translation(thing, language, None, text) for language, text in texts.items()])
    return _pair(things, source, seed, [], split)


def _pair(
    things: Sequence[Sequence[Translation]], source: BitextSource, seed: int, bad: list[Bad], split: str | None
) -> tuple[pa.Table, list[Bad]]:
    pairs: list[tuple[Translation, Translation]] = []
    for members in things:
        found = list(pairs_of(sorted(set(members), key=_by_language), _pivot(members, source), source.partners, seed))
        pairs += found
        if not found:
            bad.append(Bad("no_partner", "\t".join(f"{member.language}:{member.text}"[:200] for member in members)))
    return translation_table(pairs, None if split is None else [split] * len(pairs), source.name), bad


def _by_language(member: Translation) -> tuple[str, str, str]:
    return member.language, member.script or "", member.text


def _pivot(members: Sequence[Translation], source: BitextSource) -> str | None:
    """The pivot as the table spells it (`eng`, `en`, `eng_Latn`)."""
    if source.pivot is None:
        return None
    pivot = canonical(source.pivot)[0]
    return next((member.language for member in members if canonical(member.language)[0] == pivot), None)


def labelled_columns(source: LabelledSource) -> Columns:
    """What a reader must deliver for labelled text."""
    keys = [name for name in (source.language_column, source.script_column, source.split) if name]
    return Columns({source.text: "text", source.label: "key", **dict.fromkeys(keys, "key")}, {})


def labelled_candidates(table: pa.Table, source: LabelledSource, seed: int) -> tuple[pa.Table, list[Bad]]:
    """Candidates of labelled text: positive = another text of the label, negatives = texts of other labels, by hash.

    With two labels in all, positive and negative are the labels themselves (two-way classification). Texts of different
    splits never meet.
    """
    parts, bad = parted(table, source.split)
    two_way = len(pc.unique(table[source.label].drop_null())) == 2
    tables = [CANDIDATE.empty_table()]
    for split, rows in parts:
        candidates, unusable = _labelled_part(rows, source, split, two_way=two_way)
        tables.append(candidates)
        bad += unusable
    return pa.concat_tables(tables), bad


def _labelled_part(
    table: pa.Table, source: LabelledSource, split: str | None, *, two_way: bool
) -> tuple[pa.Table, list[Bad]]:
    bad: list[Bad] = []
    by_label: defaultdict[str, list[_Labelled]] = defaultdict(list)
    previous: _Labelled | None = None
    for row in sorted(_labelled_rows(table, source), key=lambda row: (row["key"], row["text"], row["label"])):
        if not (row["text"] and row["label"]) or row == previous:
            bad.append(Bad("duplicate" if row == previous else "empty", f"{row['label']}\t{row['text']}"[:400]))
        else:
            by_label[row["label"]].append(row)
        previous = row
    made: list[tuple[_Labelled, str, list[str]]] = []
    for label, members in sorted(by_label.items()):
        others = [other for other in sorted(by_label) if other != label]
        for place, row in enumerate(members):
            if two_way:
                made.append((row, label, others))
            elif len(members) == 1:
                bad.append(Bad("no_partner", f"{label}\t{row['text']}"[:400]))
            else:
                made.append(
                    (
                        row,
                        members[(place + 1) % len(members)]["text"],
                        _texts_of_other_labels(row, others, by_label, source),
                    )
                )
    return _labelled_table(made, source, split, two_way=two_way), bad


class _Labelled(TypedDict):
    text: str
    label: str
    language: str | None
    script: str | None
    key: int


def _labelled_rows(table: pa.Table, source: LabelledSource) -> Iterator[_Labelled]:
    language, script = _column(table, source.language_column), _column(table, source.script_column)
    blank = [None] * table.num_rows
    for text, label, spoken, written in zip(
        table[source.text].to_pylist(),
        table[source.label].to_pylist(),
        blank if language is None else language.to_pylist(),
        blank if script is None else script.to_pylist(),
        strict=True,
    ):
        key = draw(0, text or "", spoken or "", written or "")
        yield _Labelled(text=text or "", label=label or "", language=spoken, script=written, key=key)


def _texts_of_other_labels(
    row: _Labelled, labels: Sequence[str], by_label: Mapping[str, Sequence[_Labelled]], source: LabelledSource
) -> list[str]:
    """Texts of other labels, each label once before any comes again."""
    negatives: list[str] = []
    for step in range(source.negatives if labels else 0):
        members = by_label[labels[(row["key"] + step) % len(labels)]]
        negatives.append(members[(row["key"] // 7919 + step) % len(members)]["text"])
    return sorted(set(negatives) - {row["text"]})


def _labelled_table(
    made: Sequence[tuple[_Labelled, str, list[str]]], source: LabelledSource, split: str | None, *, two_way: bool
) -> pa.Table:
    rows = [row for row, _, _ in made]
    return candidate_table(
        {
            "query": [row["text"] for row in rows],
            "query_language": [row["language"] for row in rows],
            "query_script": [row["script"] for row in rows],
            "positives": [[positive] for _, positive, _ in made],
            "negatives": [negatives or None for _, _, negatives in made],
            "group": [row["label"] for row in rows],
            "label": [row["label"] for row in rows],
            "split": None if split is None else [split] * len(rows),
        },
        task="classification" if two_way else source.task,
        source=source.name,
    )


def _column(table: pa.Table, name: str | None) -> pa.ChunkedArray | None:
    return None if name is None else table[name]
