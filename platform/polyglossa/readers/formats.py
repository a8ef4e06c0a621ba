"""The formats that are read, by suffix, and what of each is read and refused: the table in `jobs/README.md`."""

from dataclasses import dataclass

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
"""Suffix behind the format's → Arrow's name of the compression."""


@dataclass(frozen=True)
class Format:
    """One format."""

    name: str
    suffixes: tuple[str, ...]
    read: str
    refused: str


FORMATS = (
    Format(
        "jsonl",
        (".jsonl", ".ndjson", ".json"),
        "an object a line; one array of objects, or objects over several lines, in any file of these suffixes; keys in "
        "any order; `NaN` and lone surrogates in columns that nobody reads",
        "a line that is no object, holds invalid JSON or UTF-8, lacks a column, or names a column that is read twice: "
        "the row, with its reason; a single value above 64 MiB",
    ),
    Format(
        "csv",
        (".csv",),
        "the delimiter (`,` `;` tab `|`) that the first rows agree on, or that a first line `sep=;` names; cells in "
        '`"`, quotes inside doubled, line ends inside quotes; blank lines are no rows; empty cells behind the last '
        "column are dropped",
        "a row with more or fewer cells than the header, or with a quote that does not close: the row, with its line "
        "number; two columns of the name that is read: the file",
    ),
    Format(
        "tsv",
        (".tsv", ".tab"),
        "a row a line, tabs between cells, quotes are characters like others; a file that was written with doubled "
        "quotes (or quotes around line ends, or around its whole header) is noticed, said, and read as CSV with tabs",
        "as CSV",
    ),
    Format(
        "parquet",
        (".parquet", ".pq"),
        "every text type (string, large, view, binary that holds UTF-8, dictionary) and every list type of them; "
        "numbers, dates and decimals as ids and labels",
        "a text that is no UTF-8, a number that is not finite: the row; a column of another type, two columns of the "
        "name that is read: the file",
    ),
)  # fmt: skip
BY_SUFFIX = {suffix: one.name for one in FORMATS for suffix in one.suffixes}
NAMES = tuple(one.name for one in FORMATS)


def described() -> str:
    """Write the table of formats in Markdown."""
    rows = [
        f"| `{one.name}`: {', '.join(f'`{suffix}`' for suffix in one.suffixes)} | {_cell(one.read)} | "
        f"{_cell(one.refused)} |"
        for one in FORMATS
    ]
    packed = ", ".join(f"`{suffix}`" for suffix in COMPRESSIONS)
    every = (
        "| all text formats | UTF-8 with or without a byte-order mark; UTF-16 and UTF-32 with one, UTF-16 without "
        f"where most characters are ASCII; lines that end in LF, CR LF or CR; compressed ({packed}); suffixes in any "
        "case | other encodings: their rows are `invalid_utf8`; archives and spreadsheets |"
    )
    return "\n".join(["| format | what is read | what is refused |", "|---|---|---|", *rows, every])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
