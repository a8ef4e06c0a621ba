"""Write findings as a table for a terminal."""

from collections.abc import Sequence

from polyglossa.cluster.check.judge import Finding


def table(findings: Sequence[Finding]) -> str:
    """Lay findings out in columns; what to do stands below its line."""
    rows = [
        ("", "check", "where", "found"),
        *(("ok" if one.good else "FAIL", one.what, one.where, one.found) for one in findings),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = []
    for row, finding in zip(rows, [None, *findings], strict=True):
        lines.append(
            "  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[3]]).rstrip()
        )
        if finding is not None and finding.to_do:
            lines.append(f"{'':{widths[0]}}  → {finding.to_do}")
    return "\n".join(lines)
