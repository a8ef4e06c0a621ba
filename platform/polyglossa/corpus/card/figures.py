"""The corpus card: what is in the corpus and what was kept out, as data (`report/corpus.json`) and as a page.

The page is one file that loads nothing: light and dark, readable on a phone. Pure: counts in, data and text out.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from babel import Locale
from langcodes import standardize_tag, tag_is_valid

from polyglossa.corpus.statistics import median
from polyglossa.pages.shell import page_part, render_shell

_SHOWN = 300
"""Texts of sampled rows are cut here (characters)."""


def card_data(
    account: Mapping[str, Any],
    sources: Mapping[str, Any],
    lengths: pa.Table,
    tokens: pa.Table,
    samples: Mapping[str, pa.Table],
    tokenizer: str | None,
) -> dict[str, Any]:
    """Put the card together.

    Args:
        account: what `publish.account_of` returns.
        sources: what each source holds (`sources.json`).
        lengths: `census.LENGTHS` of all kept rows.
        tokens: `census.TOKENS` of the sampled ones.
        samples: some rows (`describe.ROW`) by source.
        tokenizer: what tokens were counted with; None: words and signs.
    """
    rates = _Rates(tokens)
    rejects: Counter[str] = Counter()
    for reasons in account["rejects"].values():
        rejects.update(reasons)
    return {
        "rows_in": sum(account["rows_in"].values()),
        "rows_out": sum(sum(one["rows"].values()) for one in sources.values()),
        "tokens_are": f"tokens of {tokenizer}" if tokenizer else "words and signs",
        "languages": _measure(lengths, "language", rates),
        "tasks": _measure(lengths, "task", rates),
        "sources": _sources(account, sources, _measure(lengths, "source", rates), samples),
        "rejects": dict(rejects.most_common()),
        "duplicates": _duplicates(account["duplicates"]),
        "near_duplicates": account["near_duplicates"],
        "instructions": [{"name": source, **figures} for source, figures in account["instructions"].items()],
        "decontamination": [
            {
                **figures,
                **{reason: account["decontamination"]["removed"].get(name, {}).get(reason, 0) for reason in _LEAKS},
            }
            for name, figures in account["decontamination"]["sets"].items()
        ],
    }


_LEAKS = ("contaminated_query", "contaminated_document", "contaminated_block")


class _Rates:
    """Tokens per character, from the sample: of a source's language, else of the source, else of all."""

    def __init__(self, tokens: pa.Table) -> None:
        self._sums: defaultdict[tuple[str, ...], np.ndarray] = defaultdict(lambda: np.zeros(2))
        for row in tokens.to_pylist():
            for key in ((row["source"], row["language"]), (row["source"],), ()):
                self._sums[key] += (row["tokens"], row["characters"])

    def of(self, source: str, language: str) -> float:
        """Tokens per character of one group."""
        for key in ((source, language), (source,), ()):
            tokens, characters = self._sums[key]
            if characters:
                return float(tokens / characters)
        return 0.0


def _measure(lengths: pa.Table, column: str, rates: _Rates) -> list[dict[str, Any]]:
    """Rows, tokens and median lengths by one column, the largest first."""
    found = []
    for name in sorted(lengths[column].unique().to_pylist()):
        mine = lengths.filter(pc.equal(lengths[column], name))
        queries = mine.filter(pc.equal(mine["side"], "query"))
        row = {"name": name, "rows": pc.sum(queries["texts"]).as_py() or 0, "tokens": _tokens(mine, rates)}
        for side in ("query", "positive"):
            part = mine.filter(pc.equal(mine["side"], side))
            row[f"median_{side}"] = median(part["bin"].to_numpy(), part["texts"].to_numpy()) if part.num_rows else None
        if column == "language":
            row |= {"title": language_name(name), "script": _main_script(mine)}
        found.append(row)
    return sorted(found, key=lambda row: (-row["rows"], row["name"]))


def _tokens(lengths: pa.Table, rates: _Rates) -> int:
    groups = lengths.group_by(["source", "language"]).aggregate([("characters", "sum")]).to_pylist()
    return round(sum(row["characters_sum"] * rates.of(row["source"], row["language"]) for row in groups))


def _main_script(lengths: pa.Table) -> str:
    counts = lengths.group_by("script").aggregate([("texts", "sum")]).to_pylist()
    return str(max(counts, key=lambda row: (row["texts_sum"], row["script"]))["script"])


def language_name(code: str) -> str:
    """English name of a language code, or the code."""
    base, _, script = code.partition("_")
    tags = [standardize_tag(base, macro=macro) for macro in (False, True)] if tag_is_valid(base) else [base]
    names = Locale("en").languages
    name = next((names[tag] for tag in tags if tag in names), base)
    return f"{name} ({script})" if script else str(name)


def _sources(
    account: Mapping[str, Any],
    sources: Mapping[str, Any],
    measured: Sequence[Mapping[str, Any]],
    samples: Mapping[str, pa.Table],
) -> list[dict[str, Any]]:
    by_name = {row["name"]: row for row in measured}
    blank = {"rows": 0, "tokens": 0, "median_query": None, "median_positive": None}
    return [
        {
            **by_name.get(name, blank),
            "name": name,
            "task": about["task"],
            "splits": about["rows"],
            "languages": len(about["languages"]),
            "rows_in": account["rows_in"].get(name, 0),
            "rejects": account["rejects"].get(name, {}),
            "identification": account["given_languages"].get(name, {}),
            "samples": [_sample(row) for row in samples[name].to_pylist()] if name in samples else [],
        }
        for name, about in sources.items()
    ]


def _sample(row: Mapping[str, Any]) -> dict[str, Any]:
    shown = {
        "query": row["query"][:_SHOWN],
        "positive": row["positives"][0][:_SHOWN],
        "negative": ((row["negatives"] or [""])[0] or "")[:_SHOWN],
        "language": row["query_language"],
        "positive_language": row["positive_language"],
        "label": row["label"],
        "split": row["split"],
        "score": row["score"],
        "confidence": row["language_confidence"],
    }
    return {name: value for name, value in shown.items() if value not in (None, "")}


def _duplicates(between: Mapping[str, int]) -> list[dict[str, Any]]:
    most = sorted(between.items(), key=lambda found: -found[1])
    return [dict(zip(("kept", "dropped"), pair.split("/"), strict=True)) | {"rows": rows} for pair, rows in most]


def render_card(data: Mapping[str, Any]) -> str:
    """Fill the page."""
    body, style, script = (page_part("polyglossa.corpus.card", f"page.{kind}") for kind in ("html", "css", "js"))
    return render_shell(
        "Corpus card", body, heading="Corpus card", style=style, script=script, data=data, data_id="card-data"
    )
