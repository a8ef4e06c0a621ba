"""Figures that let a person judge mined negatives: by source and language, as plain JSON values. Pure."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.mine.choose import RULES
from polyglossa.mine.pools import Rows

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

BINS = 50
"""Histogram bins over cosines −1 … 1."""
_SUSPICIOUS = 10
_CUT = 300  # characters of a text that is shown


def audit(rows: Rows, documents: pa.Table, found: pa.Table, negatives: int) -> dict[str, Any]:
    """Describe what was mined.

    Args:
        rows: all rows.
        documents: sorted by id.
        found: what the units returned (`unit.FOUND`).
        negatives: negatives that a full row has.

    Returns:
        `bins`, `recall` of an approximate search by pool, and, by source, `rows_mined`,
        `rows_without_negatives`, `short_share`, `negatives`, `filled`, histograms and means of both sides' scores, the
        same by language, `rejects` by rule, `false_negatives` and `suspicious` (see the functions of these names).
    """
    row = found.column("row").to_numpy()
    language = rows.table.column("language").take(pa.array(row)).fill_null("und").combine_chunks()
    sources = {}
    for source, (start, stop) in rows.source_offsets.items():
        mine = (row >= start) & (row < stop)
        if mine.any():
            part = found.filter(pa.array(mine)).combine_chunks()
            sources[source] = {
                **summary(part, negatives),
                "rejects": rejects(part),
                "false_negatives": false_negatives(part),
                "languages": by_language(part, language.filter(pa.array(mine)), negatives),
                "suspicious": suspicious(part, rows, documents),
            }
    return {"bins": np.linspace(-1, 1, BINS + 1).round(4).tolist(), "sources": sources, "recall": recalls(found)}


def summary(found: pa.Table, negatives: int) -> dict[str, Any]:
    """Count rows and negatives, and describe the scores of both sides.

    Rows are short of, or without, negatives that the rules let through; random ones that fill them up are `filled`.
    """
    count = pc.list_value_length(found.column("negatives")).to_numpy()
    mined = count - found.column("filled").to_numpy()
    positive = found.column("positive_score").to_numpy()
    negative = pc.list_flatten(found.column("negative_scores")).to_numpy()
    return {
        "rows_mined": len(found),
        "rows_without_negatives": int((mined == 0).sum()),
        "short_share": _round((mined < negatives).mean()),
        "negatives": int(count.sum()),
        "filled": int((count - mined).sum()),
        "positive_mean": _round(positive.mean()),
        "negative_mean": _round(negative.mean()) if len(negative) else None,
        "positive_histogram": histogram(positive),
        "negative_histogram": histogram(negative),
    }


def by_language(found: pa.Table, language: pa.Array, negatives: int) -> dict[str, Any]:
    """Describe every query language, the largest first."""
    code = language.dictionary_encode()
    number = code.indices.to_numpy()
    order = np.argsort(number, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(number))[:-1])
    named = sorted(zip(code.dictionary.to_pylist(), parts, strict=True), key=lambda item: (-len(item[1]), item[0]))
    return {name: summary(found.take(pa.array(part)).combine_chunks(), negatives) for name, part in named}


def rejects(found: pa.Table) -> dict[str, int]:
    """Count refused candidates by rule."""
    refused = pc.list_flatten(found.column("refused")).to_numpy().reshape(-1, len(RULES) - 1).sum(axis=0)
    return {name: int(count) for name, count in zip(RULES[1:], refused, strict=True) if count}


def false_negatives(found: pa.Table) -> dict[str, Any]:
    """Estimate how many chosen negatives are unlabelled positives.

    The rules are applied once more as if groups were unknown. The share of negatives chosen then that belong to the
    query's own group is what scores alone let through. It says something only where a source has groups of more than
    one document; a source without such groups has `share` null.
    """
    blind = int(pc.sum(found.column("blind")).as_py() or 0)
    same = int(pc.sum(found.column("blind_same_group")).as_py() or 0)
    refused = rejects(found).get("same_group", 0)
    return {
        "chosen_without_groups": blind,
        "of_own_group": same,
        "share": _round(same / blind) if refused and blind else None,
    }


def recalls(found: pa.Table) -> dict[str, float]:
    """Measured recall of an approximate search, by pool; empty where search was exact."""
    sums = found.group_by("pool").aggregate([("recall_found", "sum"), ("recall_wanted", "sum")]).to_pylist()
    shares = {row["pool"]: (row["recall_found_sum"], row["recall_wanted_sum"]) for row in sums}
    return {pool: _round(got / wanted) for pool, (got, wanted) in sorted(shares.items()) if wanted}


def suspicious(found: pa.Table, rows: Rows, documents: pa.Table) -> list[dict[str, Any]]:
    """Return the chosen negatives that score highest against their positive, with their texts."""
    count = pc.list_value_length(found.column("negatives")).to_numpy()
    query = np.repeat(np.arange(len(found)), count)
    score = pc.list_flatten(found.column("negative_scores")).to_numpy()
    above = score - found.column("positive_score").to_numpy()[query]
    negative = pc.list_flatten(found.column("negatives")).to_numpy()
    shown = []
    for place in np.argsort(-above, kind="stable")[:_SUSPICIOUS].tolist():
        row = int(found.column("row")[int(query[place])].as_py())
        positive = int(rows.positives.values[rows.positives.offsets[row]])
        shown.append(
            {
                "query": rows.table.column("query")[row].as_py()[:_CUT],
                "positive": documents.column("text")[positive].as_py()[:_CUT],
                "negative": documents.column("text")[int(negative[place])].as_py()[:_CUT],
                "positive_score": _round(score[place] - above[place]),
                "negative_score": _round(score[place]),
            }
        )
    return shown


def histogram(scores: Floats) -> list[int]:
    """Count cosines in `BINS` equal bins."""
    counts: list[int] = np.histogram(scores.clip(-1, 1), bins=BINS, range=(-1, 1))[0].tolist()
    return counts


def _round(value: Any) -> float:
    return round(float(value), 6)
