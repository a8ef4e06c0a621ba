"""From proposals to the folder of one's own data: read, join with what an earlier run had, split, check, write.

Everything is checked before anything is written, and what is written appears as a whole or not at all.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from polyglossa.errors import DataError
from polyglossa.scaffold.own.folder import SplitSource, write_source
from polyglossa.scaffold.own.groups import group_rows
from polyglossa.scaffold.own.languages import languages_of
from polyglossa.scaffold.own.rows import OWN_ROW, OwnRows
from polyglossa.scaffold.own.split import LEAST_TO_JUDGE, split_rows, wanted_queries

LEAST_QUERIES = 100
_MOST_SHOWN = 3


@dataclass(frozen=True)
class Earlier:
    """What an earlier `init` wrote: its rows, and which queries it holds out."""

    rows: Mapping[str, tuple[str, pa.Table]]
    """Kind and rows (`OWN_ROW`) by source."""
    heldout: frozenset[str]


def read_earlier(folder: Path) -> Earlier:
    """Read the folder of an earlier recipe.

    Raises:
        DataError: it is not there any more.
    """
    told = folder / "split.json"
    if not told.exists():
        raise DataError(f"{told}: is not there; `--extend` needs the folder that `init` wrote for that recipe.")
    sources = json.loads(told.read_text(encoding="utf-8"))["sources"]
    rows = {
        name: (about["kind"], pq.read_table(folder / "rows" / f"{name}.parquet")) for name, about in sources.items()
    }
    held = {
        query
        for name, (_, table) in rows.items()
        for query, side in zip(table["query"].to_pylist(), _sides(folder, name), strict=True)
        if side == "heldout"
    }
    return Earlier(rows, frozenset(held))


def _sides(folder: Path, name: str) -> list[str]:
    return list(pq.read_table(folder / "rows" / f"{name}.sides.parquet")["side"].to_pylist())


def join_earlier(new: Sequence[OwnRows], earlier: Earlier) -> list[OwnRows]:
    """Put new rows behind those of an earlier run, source by source; sources that bring nothing new stay.

    Raises:
        DataError: a source of that name held another kind of rows.
    """
    joined = []
    fresh = {rows.name: rows for rows in new}
    for name, (kind, table) in earlier.rows.items():
        rows = fresh.pop(name, None)
        if rows is None:
            joined.append(OwnRows(name, kind, table, table.num_rows, Counter(), Counter()))
        elif rows.kind != kind:
            raise DataError(f"{name}: holds {rows.kind}, and {kind} before; give the new file another name.")
        else:
            known = set(zip(*(map(str, table[column].to_pylist()) for column in _KEY), strict=True))
            keys = zip(*(map(str, rows.table[column].to_pylist()) for column in _KEY), strict=True)
            added = rows.table.filter(pa.array([key not in known for key in keys], pa.bool_()))
            joined.append(replace(rows, table=pa.concat_tables([table, added]), read=table.num_rows + rows.read))
    return [*joined, *fresh.values()]


_KEY = ("query", "positives", "label", "score")


def split_source(rows: OwnRows, fixed: frozenset[str] = frozenset()) -> SplitSource:
    """Split one source.

    Args:
        rows: all of its rows.
        fixed: queries that stay held out.

    Raises:
        DataError: what could be held out cannot judge, or what is left cannot teach.
    """
    _check_rows(rows)
    languages = languages_of(rows.table)
    labels = rows.table["label"].to_pylist()
    by_label = rows.kind == "labels"
    strata = [f"{code}\t{label if by_label else ''}" for code, label in zip(languages, labels, strict=True)]
    queries = rows.table["query"].to_pylist()
    groups = group_rows(rows.table, by_label=by_label).tolist()
    sides = split_rows(groups, queries, strata, rows.table["split"].to_pylist(), fixed=fixed)
    source = SplitSource(rows, sides, tuple(languages))
    _check_sides(source)
    return source


def _check_rows(rows: OwnRows) -> None:
    """Refuse rows that cannot be judged by.

    Raises:
        DataError: they are too few, or all the same.
    """
    queries = set(rows.table["query"].to_pylist())
    if len(queries) == 1 and rows.read > 1:
        raise DataError(f"{rows.name}: all {rows.read:,} rows ask the same: {_shown(next(iter(queries)))}.")
    if len(queries) < LEAST_QUERIES:
        lost = ", ".join(f"{reason} {count:,}" for reason, count in sorted(rows.lost.items()))
        raise DataError(
            f"{rows.name}: {len(queries):,} different queries in {rows.read:,} rows{f' ({lost})' if lost else ''}; at "
            f"least {LEAST_QUERIES} are needed, so that {LEAST_TO_JUDGE} can be held out to judge the result by."
        )
    if rows.kind == "labels":
        labels = set(rows.table["label"].to_pylist())
        if len(labels) < 2:
            raise DataError(f"{rows.name}: all rows have the label {_shown(next(iter(labels)))}; two are needed.")
        return
    answers = {tuple(found or ()) for found in rows.table["positives"].to_pylist()}
    if len(answers) < 2:
        raise DataError(f"{rows.name}: all rows have the same answer: {_shown(next(iter(next(iter(answers)))))}.")
    if rows.kind == "scores" and len(set(rows.table["score"].to_pylist())) < 2:
        raise DataError(f"{rows.name}: all rows have the same score; a ranking needs at least two.")


def _check_sides(source: SplitSource) -> None:
    rows, sides = source.rows, source.sides
    held = len({row["query"] for row in source.kept("heldout")})
    trained = sides.count("train")
    if held < LEAST_TO_JUDGE:
        wanted = wanted_queries(len(set(rows.table["query"].to_pylist())))
        why = (
            "its column of splits holds out no more"
            if sides.given
            else f"of {wanted:,} wanted: the others are tied by equal or nearly equal questions and answers. Answers "
            "that many questions share are labels: name the columns `text` and `label`"
        )
        raise DataError(f"{rows.name}: {held:,} queries can be held out, {why}; {LEAST_TO_JUDGE} are needed to judge.")
    if trained < LEAST_QUERIES - LEAST_TO_JUDGE - 10:
        raise DataError(f"{rows.name}: {trained:,} rows are left to train on; nothing is learned from so few.")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}…")


def write_folder(sources: Sequence[SplitSource], folder: Path, extra: Sequence[str] = ()) -> dict[str, Any]:
    """Write the folder; it appears as a whole.

    Args:
        sources: what was split.
        folder: `NAME.own`, which must not be there.
        extra: further documents, searched with the first source's.

    Returns:
        What `split.json` holds.
    """
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        told = {}
        for place, source in enumerate(sources):
            told[source.rows.name] = write_source(source, draft, extra if place == 0 else ())
            _keep_rows(source, draft)
        account = {"sources": told, "extra_documents": len(extra)}
        (draft / "split.json").write_text(json.dumps(account, indent=1, ensure_ascii=False), encoding="utf-8")
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return account


def _keep_rows(source: SplitSource, folder: Path) -> None:
    """Keep the rows and their sides, for `--extend`."""
    (folder / "rows").mkdir(parents=True, exist_ok=True)
    name = source.rows.name
    pq.write_table(source.rows.table.cast(OWN_ROW), folder / "rows" / f"{name}.parquet", compression="zstd")
    sides = pa.table({"side": pa.array(source.sides.side, pa.string())})
    pq.write_table(sides, folder / "rows" / f"{name}.sides.parquet", compression="zstd")


def said(account: Mapping[str, Any]) -> Iterable[str]:
    """Tell what was held out, in a line a source and one for what is doubtful."""
    for name, about in account["sources"].items():
        queries, rows = about["queries"], about["rows"]
        lost = ", ".join(f"{reason} {count:,}" for reason, count in about["left_out"].items())
        languages = ", ".join(list(about["languages"])[:_MOST_SHOWN])
        yield (
            f"{name}: {queries['heldout']:,} of {sum(queries.values()):,} queries held out by group"
            f"{' as the file says' if about['split_given'] else ''}, {rows.get('train', 0):,} rows train, "
            f"{rows.get('validation', 0):,} validate; {about['documents']:,} documents to search; {languages}"
            + (f"; left out: {lost}" if lost else "")
        )
        doubts = about["doubts"]
        told = [f"{doubts[kind]:,} {what}" for kind, what in _DOUBTS.items() if doubts.get(kind)]
        if told:
            yield f"  to look at: {', '.join(told)} (doubts/{name}.parquet)"


_DOUBTS = {"several_answers": "questions with several answers", "repeated": "rows that are there more than once"}
