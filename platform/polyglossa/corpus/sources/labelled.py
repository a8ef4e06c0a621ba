"""Sources of labelled text: a text's positive is another of its label, its negatives are texts of other labels."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TypedDict

import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.corpus.sources.candidates import candidate_table, candidates_by_split
from polyglossa.corpus.sources.source import Reading, Shard
from polyglossa.corpus.sources.table_files import TableFiles, column_or_none, gather_part
from polyglossa.corpus.sources.translations import draw
from polyglossa.readers.rows import Bad
from polyglossa.readers.tables import Columns
from polyglossa.recipe.sections.sources import LabelledSource


class Labelled(TableFiles[LabelledSource]):
    """Texts with labels; a part is a fair sample of all labels."""

    @property
    def whole(self) -> bool:
        """Texts of one label lie anywhere."""
        return True

    def read(self, shard: Shard) -> Iterator[Reading]:
        """Read all rows of the part at once."""
        table, unreadable, notices = gather_part(self, shard, labelled_columns(self.entry), self.entry.text)
        candidates, unpaired = labelled_candidates(table, self.entry, self.config.seed)
        yield Reading(candidates, [*unreadable, *unpaired], notices)


def labelled_columns(source: LabelledSource) -> Columns:
    """What a reader must deliver for labelled text."""
    keys = [name for name in (source.language_column, source.script_column, source.split) if name]
    return Columns({source.text: "text", source.label: "key", **dict.fromkeys(keys, "key")}, {})


def labelled_candidates(table: pa.Table, source: LabelledSource, seed: int) -> tuple[pa.Table, list[Bad]]:
    """Candidates of labelled text: positive = another text of the label, negatives = texts of other labels, by hash.

    With two labels in all, positive and negative are the labels themselves (two-way classification). Texts of different
    splits never meet.
    """
    two_way = len(pc.unique(table[source.label].drop_null())) == 2
    return candidates_by_split(table, source.split, partial(_labelled_part, source, two_way))


def _labelled_part(
    source: LabelledSource, two_way: bool, table: pa.Table, split: str | None
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
    language, script = column_or_none(table, source.language_column), column_or_none(table, source.script_column)
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


SOURCE = Labelled
