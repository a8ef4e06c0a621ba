"""Recipe section `corpus`: where rows come from and how they are cleaned."""

from typing import Annotated, Literal

from pydantic import Field

from polyglossa.recipe.strict import Strict


SOURCE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""A source names a folder."""


class CldrSource(Strict):
    """Names of territories, languages, currencies and scripts in every language of CLDR, read through Babel."""

    kind: Literal["cldr"]
    name: str = Field("cldr", pattern=SOURCE_NAME)
    """Name of the source; rows carry it."""
    pairs_per_name: int = Field(2, ge=1)
    """How many partner languages each name is paired with (English is always one of them)."""
    classification: bool = True
    """Also make name → kind pairs (task `classification`), as source `<name>_kind`."""


class PydocSource(Strict):
    """First docstring paragraph → source of the function without its docstring, from Python's standard library."""

    kind: Literal["pydoc"]
    name: str = Field("pydoc", pattern=SOURCE_NAME)
    """Name of the source; rows carry it."""
    max_characters: int = Field(1200, ge=80)
    """Longer function bodies are cut here (characters)."""


Source = Annotated[CldrSource | PydocSource, Field(discriminator="kind")]

# MTEB's defaults (F2LLM-v2 is evaluated with them); a row's text after `Instruct: `.
_TASK_INSTRUCTIONS = {
    "retrieval": "Given a question, retrieve passages that can help answer the question.",
    "bitext": "Retrieve translations of the following text.",
    "clustering": "Classify the topic of the given text.",
    "classification": "Classify the topic of the given text.",
    "sts": "Retrieve semantically similar text.",
}
_SOURCE_INSTRUCTIONS = {
    "cldr_kind": "Classify what kind of thing the given name stands for.",
    "pydoc": "Given a description of a function, retrieve the Python code of that function.",
}


class InstructionsConfig(Strict):
    """What queries are told to look for."""

    tasks: dict[str, str] = _TASK_INSTRUCTIONS
    """Instruction by task, for sources without one of their own."""
    sources: dict[str, str] = _SOURCE_INSTRUCTIONS
    """Instruction by source."""
    document_share: float = Field(0.3, ge=0, le=1)
    """Share of documents that get the instruction too, in symmetric tasks (bitext, sts)."""


class CorpusConfig(Strict):
    """What the corpus is made of."""

    sources: tuple[Source, ...] = Field(min_length=1)
    """In order: where two sources hold the same row, the first keeps it."""
    instructions: InstructionsConfig = InstructionsConfig()
    """Instructions of queries, by source or task."""
    max_characters: int = Field(20_000, ge=1)
    """Rows with a longer text are rejected (characters)."""
    heldout_share: float = Field(0.1, gt=0, lt=0.5)
    """Share of concepts (cldr) or modules (pydoc) kept out of training for evaluation."""
    validation_share: float = Field(0.01, ge=0, lt=0.5)
    """Share of training rows, by hash of the query, kept for validation loss."""
    seed: int = 0
    """Salt of every choice by hash."""
