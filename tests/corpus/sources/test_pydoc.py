"""Protects the embedded code search: summaries, code without them, and modules that are held out whole."""

import ast
from pathlib import Path

import pytest

from polyglossa.corpus.sources import pydoc
from polyglossa.corpus.sources.pydoc import Function

MODULE = b'''
import functools

@functools.cache
def twice(value):
    """Return the value doubled,
    whatever it is.

    Second paragraph.
    """
    # kept
    return value * 2

class Box:
    if True:
        def open(self): """Open the box and look into it."""; return self
    def shut(self):
        """Shut the box and do nothing else."""
    def undocumented(self):
        return 1
'''


def test_code_is_what_follows_def_without_decorator_and_docstring() -> None:
    found = {function.name: function for function in pydoc.functions_in(MODULE, "toys")}
    assert found["twice"].summary == "Return the value doubled, whatever it is."
    assert found["twice"].code == "def twice(value):\n    # kept\n    return value * 2"
    assert found["Box.open"].code == "def open(self):\n    return self"
    assert found["Box.shut"].code == ""
    assert set(found) == {"twice", "Box.open", "Box.shut"}


@pytest.mark.parametrize("source", [b"def broken(:", b"\xff\xfe", b"x = '\x00'"])
def test_a_file_that_does_not_parse_has_no_functions(source: bytes) -> None:
    assert list(pydoc.functions_in(source, "broken")) == []


def test_no_docstring_is_left_in_the_code_of_the_standard_library(functions: list[Function]) -> None:
    assert len(functions) > 2000
    for function in functions:
        if function.code:
            node = ast.parse(function.code).body[0]
            assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            docstring = ast.get_docstring(node)
            assert docstring is None or function.summary not in " ".join(docstring.split()), function


def test_test_packages_are_left_out(functions: list[Function]) -> None:
    packages = {function.module.partition(".")[0] for function in functions}
    assert packages.isdisjoint({"test", "idlelib", "site-packages"})
    assert {"json", "asyncio", "textwrap"} <= packages


def test_modules_are_held_out_whole_and_by_hash(functions: list[Function]) -> None:
    heldout = pydoc.heldout_modules(functions, 0.1, seed=0)
    assert heldout == pydoc.heldout_modules(functions[::-1], 0.1, seed=0)
    table = pydoc.search_candidates(functions, heldout, max_characters=1200, source="pydoc")
    modules = [group.partition(":")[0] for group in table["group"].to_pylist()]
    split = dict(zip(modules, table["split"].to_pylist(), strict=True))
    assert {module for module, value in split.items() if value == "heldout"} == heldout
    assert max(len(texts[0]) for texts in table["positives"].to_pylist()) <= 1200


def test_a_folder_is_read_in_the_same_order_every_time(tmp_path: Path) -> None:
    for name in ("b.py", "a.py"):
        (tmp_path / name).write_bytes(MODULE)
    assert [function.module for function in pydoc.read_functions(tmp_path)] == ["a"] * 3 + ["b"] * 3


def test_heldout_search_gives_all_functions_of_one_summary() -> None:
    functions = [
        Function("m", "f", "Return the answer.", "def f(): 1"),
        Function("m", "g", "Return the answer.", "def g(): 1"),
        Function("m", "h", "Return nothing at all.", ""),
        Function("seen", "k", "Return the answer.", "def k(): 1"),
    ]
    queries, corpus = pydoc.heldout_search(functions, frozenset({"m"}), 1200)
    assert [query["positives"] for query in queries] == [["def f(): 1", "def g(): 1"]]
    assert corpus == ["def f(): 1", "def g(): 1"]
