"""What the second opinion refused: figures by source and language with texts, and a section of the page. Pure."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.mine.pools import Rows
from polyglossa.recipe.sections.outside.rescore import RescoreConfig

_SHOWN = 5  # texts of a language
_SHOWN_LANGUAGES = 20
_CUT = 300  # characters of a text that is shown


def add_rescored(
    audit: dict[str, Any], rows: Rows, documents: pa.Table, found: pa.Table, config: RescoreConfig
) -> None:
    """Add to every source of an audit what was refused.

    Args:
        audit: of `figures.audit`; its sources get `rescored`.
        rows: all rows.
        documents: sorted by id.
        found: the findings as `rescore.decide.RESCORED`.
        config: who scored, and with which margin.
    """
    row = found.column("row").to_numpy()
    for source, (start, stop) in rows.source_offsets.items():
        mine = (row >= start) & (row < stop)
        if source in audit["sources"]:
            part = found.filter(pa.array(mine)).combine_chunks()
            said = {"model": config.label, "margin": config.margin, **_figures(part)}
            audit["sources"][source]["rescored"] = said | {"languages": _by_language(part, rows, documents)}


def _figures(found: pa.Table) -> dict[str, Any]:
    refused = pc.list_value_length(found.column("false_negatives")).to_numpy()
    return {
        "pairs": int(pc.sum(found.column("pairs_scored")).as_py() or 0),
        "refused": int(refused.sum()),
        "rows_with_refused": int((refused > 0).sum()),
        "unscored": int(pc.sum(found.column("unscored")).as_py() or 0),
    }


def _by_language(found: pa.Table, rows: Rows, documents: pa.Table) -> dict[str, Any]:
    """Describe every language of the queries, the most refused first; texts of the first ones."""
    language = rows.table.column("language").take(found.column("row")).fill_null("und").combine_chunks()
    described = []
    for name in pc.unique(language).to_pylist():
        part = found.filter(pc.equal(language, name)).combine_chunks()
        described.append((name, _figures(part), part))
    described.sort(key=lambda one: (-one[1]["refused"], one[0]))
    return {
        name: figures | {"texts": _texts(part, rows, documents) if place < _SHOWN_LANGUAGES else []}
        for place, (name, figures, part) in enumerate(described)
    }


def _texts(found: pa.Table, rows: Rows, documents: pa.Table) -> list[dict[str, Any]]:
    """Return the refused candidates that score highest over their positive, with their texts."""
    refused = found.column("false_negatives").combine_chunks()
    place = np.repeat(np.arange(len(found)), pc.list_value_length(refused).to_numpy())
    score = found.column("false_negative_scores").combine_chunks().flatten().to_numpy()
    number = refused.flatten().to_numpy()
    lowest = _lowest(found, rows)
    shown = []
    for at in np.argsort(-(score - lowest[place]), kind="stable")[:_SHOWN].tolist():
        row = int(found.column("row")[int(place[at])].as_py())
        positive = int(rows.positives.values[rows.positives.offsets[row]])
        shown.append(
            {
                "query": rows.table.column("query")[row].as_py()[:_CUT],
                "positive": documents.column("text")[positive].as_py()[:_CUT],
                "refused": documents.column("text")[int(number[at])].as_py()[:_CUT],
                "positive_score": round(float(lowest[place[at]]), 6),
                "refused_score": round(float(score[at]), 6),
            }
        )
    return shown


def _lowest(found: pa.Table, rows: Rows) -> np.ndarray:
    """Score of each row's lowest positive; NaN where the row has no scores."""
    count = np.diff(rows.positives.offsets)[found.column("row").to_numpy()]
    scores = found.column("candidate_scores").to_pylist()
    return np.array([min(own[:most], default=np.nan) for own, most in zip(scores, count.tolist(), strict=True)])


def rescored_section(rescored: Mapping[str, Any], table: Callable[..., str], score: Callable[[float], str]) -> str:
    """Lay the figures out as a part of a source's section.

    Args:
        rescored: what `add_rescored` added.
        table: makes a table of a head and rows.
        score: makes a cell of a score.
    """
    languages = rescored["languages"]
    share = rescored["refused"] / max(rescored["pairs"], 1)
    head = ("language", "pairs scored", "refused", "rows with refused", "without a score")
    counts = (
        (name, *(f"{one[key]:,}" for key in ("pairs", "refused", "rows_with_refused", "unscored")))
        for name, one in languages.items()
    )
    texts = (
        (name, row["query"], row["positive"], score(row["positive_score"]), row["refused"], score(row["refused_score"]))
        for name, one in languages.items()
        for row in one["texts"]
    )
    titles = ("language", "query", "positive", "score", "refused", "score")
    return (
        f"<h3>Refused as false negatives by the re-scorer</h3><p>{rescored['refused']:,} of {rescored['pairs']:,} "
        f"scored pairs ({share:.1%}): candidates that score at least their positive − {rescored['margin']:g}.</p>"
        f"{table(head, counts, numbers=1)}{table(titles, texts)}"
    )
