"""Instructions that rows hold already, written before the text as F2LLM-v2's template has it.

`Instruct: …`, a line end, `Query: …` before a query becomes the row's own instruction and the bare query, so that a
stage with instructions renders what stood there, one without reads the bare text, and nothing is put before it twice.
Documents keep theirs as part of the text, and their source's get no other. Pure.
"""

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.corpus.hashing import as_one_array
from polyglossa.whitespace import WHITESPACE

_BLANK = f"[{WHITESPACE}]*"
_TEMPLATE = rf"(?s)^{_BLANK}Instruct:{_BLANK}(?P<instruction>.*?){_BLANK}\n{_BLANK}Query:{_BLANK}(?P<text>.*)$"
_BEGINNING = rf"^{_BLANK}Instruct:"

QUERIES, LIFTED, KEPT, DOCUMENTS = "queries", "lifted", "kept", "documents"
"""Figures of a source: its queries; those whose instruction became the row's; those that begin with `Instruct:` in
another form and stay as they are; rows whose positives or negatives hold one."""


def lift_instructions(table: pa.Table) -> tuple[pa.Table, Counter[str]]:
    """Take written instructions off queries.

    Args:
        table: candidates as they were read, not yet normalised.

    Returns:
        The candidates, and the figures (`LIFTED`, `KEPT`, `DOCUMENTS`) where any row holds an instruction.
    """
    queries = as_one_array(table["query"])
    begins = begins_with_instruction(queries)
    documents = pc.or_(_any_text(table["positives"]), _any_text(table["negatives"]))
    counts = Counter({KEPT: begins.true_count or 0, DOCUMENTS: documents.true_count or 0})
    if not counts[KEPT] and not counts[DOCUMENTS]:
        return table, Counter()
    parts = pc.extract_regex(queries, _TEMPLATE)
    split = pc.and_(begins, parts.is_valid())
    counts[LIFTED] = split.true_count or 0
    counts[KEPT] -= counts[LIFTED]
    instruction = pc.if_else(split, pc.struct_field(parts, "instruction"), as_one_array(table["instruction"]))
    bare = pc.if_else(split, pc.struct_field(parts, "text"), queries)
    return _with(_with(table, "query", bare), "instruction", instruction), counts


def begins_with_instruction(texts: pa.Array) -> pa.Array:
    """Tell which texts begin with `Instruct:`."""
    return pc.fill_null(pc.match_substring_regex(texts, _BEGINNING), False)


def describe(source: str, figures: dict[str, int]) -> str:
    """Say in a line what was found in a source."""
    found = []
    if figures[LIFTED]:
        found.append(f"{figures[LIFTED] / figures[QUERIES]:.1%} bring their instruction, which is kept as theirs")
    if figures[KEPT]:
        found.append(f"{figures[KEPT] / figures[QUERIES]:.1%} begin with `Instruct:` in another form and stay so")
    if figures[DOCUMENTS]:
        found.append(f"documents of {figures[DOCUMENTS] / figures[QUERIES]:.1%} of rows hold one")
    return f"source {source}: of {figures[QUERIES]:,} queries {', '.join(found)}; no second one is put before them."


def _any_text(lists: pa.ChunkedArray) -> pa.Array:
    """Tell which rows' lists hold a text that begins with an instruction."""
    array = as_one_array(lists)
    hits = begins_with_instruction(pc.list_flatten(array))
    rows = pc.list_parent_indices(array).filter(hits)
    return pc.is_in(pa.array(range(len(array)), pa.int64()), rows.cast(pa.int64()))


def _with(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
