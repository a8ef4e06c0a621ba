"""The CLDR names and the standard library's functions, read once for all corpus tests."""

import pytest

from polyglossa.corpus import cldr, pydoc
from polyglossa.corpus.cldr import Name
from polyglossa.corpus.pydoc import Function


@pytest.fixture(scope="session")
def names() -> list[Name]:
    return cldr.read_names()


@pytest.fixture(scope="session")
def heldout(names: list[Name]) -> frozenset[str]:
    return cldr.heldout_concepts(names, 0.1, seed=0)


@pytest.fixture(scope="session")
def functions() -> list[Function]:
    return pydoc.read_functions()
