"""Embedded source `pydoc`: what a function of Python's standard library says it does → its source without saying it.

A code search that every installation holds. Functions are found with `ast`, never imported. Modules, not rows, are
held out. Pure: reads the standard library's files, returns tables. Which functions exist depends on the Python version.
"""

import ast
import sysconfig
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import xxhash

from polyglossa.corpus.sources.candidates import candidate_table
from polyglossa.corpus.sources.heldout_set import heldout_set
from polyglossa.corpus.sources.source import EMBEDDED_BYTES, CorpusSource, Reading, Shard
from polyglossa.recipe.sections.sources import PydocSource

_SKIPPED = {"test", "tests", "idlelib", "idle_test", "lib2to3", "site-packages", "dist-packages", "__pycache__"}
_MIN_CHARACTERS = 12
"""Shorter first paragraphs (`Run.`) say nothing to search by."""


class Function(NamedTuple):
    """A documented function."""

    module: str
    name: str
    """Qualified within its module."""
    summary: str
    """First paragraph of the docstring, on one line."""
    code: str
    """Source from `def` on, without decorators and docstring, dedented."""


def read_functions(root: Path | None = None) -> list[Function]:
    """Read every documented function under a folder of Python files (default: the standard library), sorted."""
    root = root or Path(sysconfig.get_path("stdlib"))
    functions: list[Function] = []
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if not _SKIPPED.intersection(relative.parts):
            functions += functions_in(path.read_bytes(), ".".join(relative.with_suffix("").parts))
    return sorted(functions)


def functions_in(source: bytes, module: str) -> Iterable[Function]:
    """Yield the documented functions of one module; a file that does not parse has none."""
    try:
        text = source.decode("utf-8")
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    lines = text.splitlines()
    for name, node in _definitions(tree, ""):
        summary = _first_paragraph(ast.get_docstring(node) or "")
        if len(summary) >= _MIN_CHARACTERS:
            yield Function(module, name, summary, source_without_docstring(node, lines))


def _definitions(node: ast.AST, prefix: str) -> Iterable[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + child.name, child
        if isinstance(child, ast.ClassDef):
            yield from _definitions(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.If | ast.Try):
            yield from _definitions(child, prefix)


def _first_paragraph(docstring: str) -> str:
    return " ".join(docstring.strip().partition("\n\n")[0].split())


def source_without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: Sequence[str]) -> str:
    """Return a function's source from `def` on, dedented, without its docstring; empty when nothing else is in it."""
    if len(node.body) == 1:
        return ""
    docstring, following = node.body[0], node.body[1]
    before = lines[node.lineno - 1 : docstring.lineno - 1]
    after = lines[docstring.end_lineno : node.end_lineno]
    alone = node.lineno < docstring.lineno and (docstring.end_lineno or 0) < following.lineno
    if not alone:  # `def f(): "doc"; return 1`: no whole lines to cut out
        bare = type(node)(**{**dict(ast.iter_fields(node)), "body": node.body[1:], "decorator_list": []})
        return ast.unparse(ast.fix_missing_locations(bare))
    return textwrap.dedent("\n".join([*before, *after])).strip()


def heldout_modules(functions: Sequence[Function], share: float, seed: int) -> frozenset[str]:
    """Choose the modules to hold out: in the order of their hash, until `share` of all modules is reached."""
    modules = sorted(
        {function.module for function in functions}, key=lambda m: xxhash.xxh3_64_intdigest(m.encode(), seed=seed)
    )
    return frozenset(modules[: round(share * len(modules))])


def search_candidates(
    functions: Sequence[Function], heldout: frozenset[str], *, max_characters: int, source: str
) -> pa.Table:
    """Pair each summary with its function's code (task `retrieval`).

    Args:
        functions: all functions.
        heldout: modules whose rows get split `heldout`.
        max_characters: longer code is cut here.
        source: name that the rows carry.
    """
    return candidate_table(
        {
            "query": [function.summary for function in functions],
            "query_language": ["eng"] * len(functions),
            "query_script": ["Latn"] * len(functions),
            "positives": [[function.code[:max_characters].rstrip()] for function in functions],
            "positive_language": ["python"] * len(functions),
            "positive_script": ["Latn"] * len(functions),
            "group": [f"{function.module}:{function.summary}" for function in functions],
            "split": ["heldout" if function.module in heldout else None for function in functions],
        },
        task="retrieval",
        source=source,
    )


def heldout_search(
    functions: Sequence[Function], heldout: frozenset[str], max_characters: int
) -> tuple[list[dict[str, object]], list[str]]:
    """Make the held-out evaluation: every held-out summary asks for the code of the functions that it describes.

    Returns:
        Queries (query, language, script, positives, same_as_english) and the texts of the corpus.
    """
    positives: defaultdict[str, set[str]] = defaultdict(set)
    for function in functions:
        if function.module in heldout and function.code:
            positives[function.summary].add(function.code[:max_characters].rstrip())
    queries: list[dict[str, object]] = [
        {
            "query": query,
            "language": "python",
            "script": "Latn",
            "positives": sorted(positives[query]),
            "same_as_english": False,
        }
        for query in sorted(positives)
    ]
    return queries, sorted(set().union(*positives.values()))


class Pydoc(CorpusSource[PydocSource]):
    """Functions of the standard library, by what their docstrings say."""

    checks_languages = False

    def shards(self, index: int) -> list[Shard]:
        """Read all at once."""
        return [Shard(index, size=EMBEDDED_BYTES)]

    def read(self, shard: Shard) -> Iterator[Reading]:
        """Make candidates, and the search that is held out."""
        functions, limit = read_functions(), self.entry.max_characters
        heldout = heldout_modules(functions, self.config.heldout_share, self.config.seed)
        queries, corpus = heldout_search(functions, heldout, limit)
        yield Reading(
            search_candidates(functions, heldout, max_characters=limit, source=self.entry.name),
            heldout=heldout_set(self.entry.name, "retrieval", "ndcg_at_10", queries, corpus),
        )


SOURCE = Pydoc
