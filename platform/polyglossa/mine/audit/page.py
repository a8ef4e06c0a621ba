"""The audit as one self-contained HTML page: figures as tables, score distributions as SVG, light and dark. Pure."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from polyglossa.mine.audit.rescored import rescored_section
from polyglossa.pages.shell import page_part, render_shell

_WIDTH, _HEIGHT = 720, 150
_CELL_WIDTH, _CELL_HEIGHT = 150, 22
_MANY_SHORT = 0.25  # share of a source's rows
_BY_SCORE = ("max_score", "relative_margin", "absolute_margin")


def page(audit: Mapping[str, Any]) -> str:
    """Lay the audit (see `audit.audit`) out as a page."""
    sections = [_section(name, source, audit["bins"]) for name, source in audit["sources"].items()]
    body = "\n".join(sections) or "<section><p>No row was mined.</p></section>"
    return render_shell(
        "Mining audit",
        f"<main>{body}</main>",
        heading="Mining audit",
        lead=_search_line(audit),
        style=page_part("polyglossa.mine.audit", "page.css"),
    )


def _search_line(audit: Mapping[str, Any]) -> str:
    recalls = audit.get("recall") or {}
    if not recalls:
        return "Candidates were found by exact search."
    worst = min(recalls, key=lambda pool: recalls[pool])
    return f"Candidates were found approximately; measured recall is lowest in {worst}: {recalls[worst]:.4f}."


def _section(name: str, source: Mapping[str, Any], bins: Sequence[float]) -> str:
    figures = {
        "rows mined": f"{source['rows_mined']:,}",
        "negatives": f"{source['negatives']:,}",
        "of them random, to fill rows up": f"{source['filled']:,}",
        "rows short of mined negatives": f"{source['short_share']:.1%}",
        "rows with none": f"{source['rows_without_negatives']:,}",
        "mean score, positives": f"{source['positive_mean']:.3f}",
        "mean score, negatives": "–" if source["negative_mean"] is None else f"{source['negative_mean']:.3f}",
        "estimated false negatives": _false_negatives(source["false_negatives"]),
    }
    return (
        f"<section><h2>{escape(name)}</h2>{_table(('figure', 'value'), figures.items(), numbers=1)}"
        f"{_advice(source)}<h3>Scores</h3><p><b class='positive'>positives</b> and "
        f"<b class='negative'>chosen negatives</b>, each as shares of their own number</p>{_histogram(source, bins)}"
        f"<h3>Candidates refused, by rule</h3>{_table(('rule', 'candidates'), _numbers(source['rejects']), numbers=1)}"
        f"{_rescored(source)}"
        f"<h3>Most suspicious negatives</h3><p>Those that score highest against their own positive.</p>"
        f"{_suspicious(source['suspicious'])}"
        f"<h3>By language of the query</h3>{_languages(source['languages'])}</section>"
    )


def _rescored(source: Mapping[str, Any]) -> str:
    """What a second opinion refused, where one was asked for."""
    return rescored_section(source["rescored"], _table, _score) if "rescored" in source else ""


def _advice(source: Mapping[str, Any]) -> str:
    """What to change where the rules leave many rows short."""
    if source["short_share"] <= _MANY_SHORT:
        return ""
    rules = {rule: count for rule, count in source["rejects"].items() if rule in _BY_SCORE}
    if not rules:
        return ""
    most = max(rules, key=lambda rule: rules[rule])
    return (
        f"<p>Most candidates are refused by <b>{escape(most)}</b>: where the model ranks the positive low, all of the "
        "window scores above the bar. A wider <b>top_k</b> reaches candidates below it, <b>short: fill</b> adds "
        "random ones, and a model that is further trained (<b>refresh</b>) ranks positives higher.</p>"
    )


def _false_negatives(estimate: Mapping[str, Any]) -> str:
    if estimate["share"] is None:
        return "not known: no candidate shared a query's group"
    return f"{estimate['share']:.2%} (own-group documents among what scores alone would have chosen)"


def _histogram(source: Mapping[str, Any], bins: Sequence[float]) -> str:
    """Two overlaid histograms over cosines −1 … 1."""
    step = _WIDTH / (len(bins) - 1)
    marks = []
    sides = {side: source[f"{side}_histogram"] for side in ("negative", "positive")}
    top = max((max(counts) / max(sum(counts), 1) for counts in sides.values()), default=0) or 1
    for side, counts in sides.items():
        for place, count in enumerate(counts):
            height = (_HEIGHT - 20) * count / max(sum(counts), 1) / top
            if count:
                label = f"{side}: {count:,} between {bins[place]:.2f} and {bins[place + 1]:.2f}"
                marks.append(
                    f'<rect class="{side}" x="{place * step:.1f}" y="{_HEIGHT - 20 - height:.1f}" width="{step:.1f}" '
                    f'height="{height:.1f}"><title>{label}</title></rect>'
                )
    ticks = "".join(
        f'<text x="{(tick + 1) / 2 * _WIDTH:.0f}" y="{_HEIGHT - 5}" text-anchor="middle">{tick:g}</text>'
        for tick in (-0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75)
    )
    axis = f'<line x1="0" x2="{_WIDTH}" y1="{_HEIGHT - 20}" y2="{_HEIGHT - 20}"/>'
    label = "Distribution of cosines"
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{axis}{"".join(marks)}{ticks}</svg>'


def _suspicious(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = (
        (row["query"], row["positive"], _score(row["positive_score"]), row["negative"], _score(row["negative_score"]))
        for row in rows
    )
    return _table(("query", "positive", "score", "negative", "score"), cells)


def _score(value: float) -> str:
    return _Markup(f"<span class='score'>{value:.3f}</span>")


def _languages(languages: Mapping[str, Mapping[str, Any]]) -> str:
    cells = (
        (
            name,
            f"{figures['rows_mined']:,}",
            f"{figures['negatives']:,}",
            f"{figures['short_share']:.1%}",
            f"{figures['positive_mean']:.3f}",
            "–" if figures["negative_mean"] is None else f"{figures['negative_mean']:.3f}",
            _outlines(figures),
        )
        for name, figures in languages.items()
    )
    head = ("language", "rows", "negatives", "short", "positive mean", "negative mean", "scores from −1 to 1")
    return _table(head, cells, numbers=1)


def _outlines(figures: Mapping[str, Any]) -> str:
    """Both distributions in a table's cell, each a path, as high as its own highest bar."""
    paths = []
    for side in ("negative", "positive"):
        counts = figures[f"{side}_histogram"]
        step, top = _CELL_WIDTH / len(counts), max(counts) or 1
        bars = "".join(f"V{_CELL_HEIGHT * (1 - count / top):.1f}h{step:g}" for count in counts)
        paths.append(f'<path class="{side}" d="M0 {_CELL_HEIGHT}{bars}V{_CELL_HEIGHT}z"/>')
    label = "Distributions of cosines, positives and negatives"
    size = f'width="{_CELL_WIDTH}" height="{_CELL_HEIGHT}" viewBox="0 0 {_CELL_WIDTH} {_CELL_HEIGHT}"'
    return _Markup(f'<svg {size} role="img" aria-label="{label}">{"".join(paths)}</svg>')


class _Markup(str):
    """A cell that is HTML already."""


def _numbers(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    return [(rule.replace("_", " "), f"{count:,}") for rule, count in counts.items()]


def _table(head: Sequence[str], rows: Any, numbers: int | None = None) -> str:
    """A table; columns from `numbers` on are aligned right."""

    def cell(tag: str, place: int, value: Any) -> str:
        kind = "number" if numbers is not None and place >= numbers else "text"
        return f'<{tag} class="{kind}">{value if isinstance(value, _Markup) else escape(str(value))}</{tag}>'

    top = "".join(cell("th", place, name) for place, name in enumerate(head))
    lines = "".join(f"<tr>{''.join(cell('td', i, value) for i, value in enumerate(row))}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>'
