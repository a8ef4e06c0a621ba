"""From mteb's results to the figures that the report and the gate read. Plain data, no mteb."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from langcodes import Language, tag_is_valid

SPLIT = "test"
ONE_LANGUAGE = "default"
"""What mteb calls the subset of a task that has no others."""
DISTINCT = "hit_rate_at_1_distinct"
"""Score without the queries that equal their English name; absent where a language has no other."""


def join_results(shares: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join the shares of one task into one mteb result, subsets in order.

    Args:
        shares: mteb's task results as plain data, each with other subsets of the same task.
    """
    joined = dict(shares[0])
    splits = dict.fromkeys(split for share in shares for split in share["scores"])
    joined["scores"] = {
        split: sorted(
            (row for share in shares for row in share["scores"].get(split, [])), key=lambda row: row["hf_subset"]
        )
        for split in splits
    }
    joined["evaluation_time"] = sum(share["evaluation_time"] or 0.0 for share in shares)
    joined["evaluation_phases"] = None
    return joined


def summarise(
    metric: str,
    result: Mapping[str, Any],
    widths: Mapping[int, Mapping[str, float]],
    dim: int,
    compressed: Mapping[str, Mapping[int, Mapping[str, float]]] | None = None,
) -> dict[str, Any]:
    """Sum one task up.

    Args:
        metric: name of the main score, as the recipe says it.
        result: mteb's result of the whole task.
        widths: main score by width and language, below the full width.
        dim: the full width.
        compressed: main score of compressed vectors by form, width and language.

    Returns:
        {"metric", "mean", "mean_distinct" where there is one, "by_language", "language" of a task that has one and does
        not name it, "widths", "compressed" where it was asked for}. A language that was judged on several splits has
        their mean, as in mteb.
    """
    rows = [row for rows in result["scores"].values() for row in rows]
    names = dict.fromkeys(row["hf_subset"] for row in rows)
    by_language = {name: fmean(row["main_score"] for row in rows if row["hf_subset"] == name) for name in names}
    summary: dict[str, Any] = {
        "metric": metric,
        "mean": fmean(by_language.values()),
        "by_language": by_language,
        "widths": {str(width): fmean(scores.values()) for width, scores in sorted(widths.items())},
    }
    if list(names) == [ONE_LANGUAGE] and (name := _name(rows[0])) != ONE_LANGUAGE:
        summary["language"] = name
    summary["widths"][str(dim)] = summary["mean"]
    if compressed:
        summary["compressed"] = {
            form: {str(width): fmean(scores.values()) for width, scores in sorted(found.items())}
            for form, found in compressed.items()
        }
    apart = {row["hf_subset"]: row[DISTINCT] for row in rows if DISTINCT in row}
    if apart:
        summary["mean_distinct"] = fmean(apart.values())
        summary["by_language_distinct"] = apart
    return summary


def scripts_of(results: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """List language and script of every subset of some results, read from mteb's codes (`deu-Latn`).

    Tasks of one language call their subset `default` all alike; here it has its language's name. A code without a
    script has the one that its language is mostly written in.
    """
    found: dict[str, tuple[str, str]] = {}
    for result in results:
        for rows in result["scores"].values():
            for row in rows:
                code, _, script = (row["languages"] or ["und"])[0].partition("-")
                if not script and code != "und" and tag_is_valid(code):
                    script = Language.get(code).maximize().script or ""
                found[_name(row)] = (code, script)
    return dict(sorted(found.items()))


def _name(row: Mapping[str, Any]) -> str:
    subset: str = row["hf_subset"]
    codes = row["languages"] or []
    return codes[0].partition("-")[0] if subset == ONE_LANGUAGE and len(codes) == 1 else subset
