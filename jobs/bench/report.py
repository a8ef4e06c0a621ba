"""Keep benchmarks' figures as JSON and render them as jobs/bench/README.md.

    python jobs/bench/report.py                          # make bench-report: results/**/*.json → README.md
    python jobs/bench/report.py --check                  # fail where README.md is stale
    python jobs/bench/report.py --save train OUTPUT      # the last line of a benchmark's output → results/train.json

A record holds `benchmark`, `title`, `command`, `processor`, `date`, `commit` and `seeds`; then `figures`, a JSON object
as the benchmark printed it, or `tables` (`columns` and `rows` as printed); and `note`, what a reader should know.
`make bench-NAME` saves a record by itself.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
RESULTS, PAGE = FOLDER / "results", FOLDER / "README.md"
BEGINS, ENDS = "<!-- results begin: `make bench-report` -->", "<!-- results end -->"


def main() -> None:
    """Save a record or write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--save", nargs=2, metavar=("NAME", "OUTPUT"))
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if options.save:
        save(options.save[0], Path(options.save[1]))
    written = PAGE.read_text(encoding="utf-8")
    page = fill(written, render(json.loads(path.read_text(encoding="utf-8")) for path in records()))
    if options.check and page != written:
        sys.exit("jobs/bench/README.md is stale; run `make bench-report`.")
    PAGE.write_text(page, encoding="utf-8")


def records() -> list[Path]:
    """List the files of all records by name, whichever room they lie in."""
    return sorted(RESULTS.rglob("*.json"), key=lambda path: path.name)


def save(name: str, output: Path) -> None:
    """Write the last line of a benchmark's output as its record; title and seeds of an earlier one stay."""
    room = "studies" if (FOLDER / "studies" / f"{name}.py").exists() else ""
    path = RESULTS / room / f"{name}.json"
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    lines = output.read_text(encoding="utf-8").strip().splitlines()
    if not lines or not lines[-1].startswith("{"):
        sys.exit(f"{output}: its last line is no JSON object; run the benchmark to its end.")
    figures = json.loads(lines[-1])
    record = {
        "benchmark": name,
        "title": earlier.get("title", name),
        "command": f"make bench-{name}",
        "processor": processor(Path("/proc/cpuinfo")),
        "date": date.today().isoformat(),
        "commit": subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=FOLDER, capture_output=True, text=True, check=True
        ).stdout.strip(),
        "seeds": figures.get("seeds", earlier.get("seeds", "")),
        "figures": figures,
        "note": "",
    }
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def processor(described: Path) -> str:
    """Return the processor's name and number of cores, as Linux tells them."""
    text = described.read_text() if described.exists() else ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else "not known"


def fill(page: str, results: str) -> str:
    """Put the results between the page's marks."""
    head, begins, rest = page.partition(BEGINS)
    _, ends, tail = rest.partition(ENDS)
    if not begins or not ends:
        sys.exit(f"{PAGE}: the marks {BEGINS} and {ENDS} are not there; put them back.")
    return f"{head}{BEGINS}\n\n{results}\n{ENDS}{tail}"


def render(records: Iterable[Mapping[str, Any]]) -> str:
    """Render records as Markdown, a section each."""
    return "\n".join(_section(record) for record in records)


def _section(record: Mapping[str, Any]) -> str:
    tables = record["tables"] if "tables" in record else [_table_of(record["figures"])]
    parts = [
        f"### {record['title']}",
        f"`{record['command']}` · {record['processor']} · {record['date']} · commit {record['commit']}"
        + (f" · seeds {record['seeds']}" if record["seeds"] != "" else ""),
        *(_table(table["columns"], table["rows"]) for table in tables),
        *([record["note"]] if record["note"] else []),
    ]
    return "\n\n".join(parts) + "\n"


def _table_of(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Lay figures out: a row each, or a row a part where every part has the same ones."""
    parts = list(figures.values())
    if parts and all(isinstance(part, Mapping) and part.keys() == parts[0].keys() for part in parts):
        rows = [[name, *map(_shown, part.values())] for name, part in figures.items()]
        return {"columns": ["", *(name.replace("_", " ") for name in parts[0])], "rows": rows}
    return {"columns": ["figure", "value"], "rows": [[name, _shown(value)] for name, value in _flat(figures, "")]}


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Name every figure of a nested object by its path."""
    if not isinstance(value, Mapping):
        yield name, value
        return
    for key, inner in value.items():
        yield from _flat(inner, f"{name}.{key}" if name else str(key))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


if __name__ == "__main__":
    main()
