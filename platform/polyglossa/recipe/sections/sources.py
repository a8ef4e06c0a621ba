"""Recipe entries of `corpus.sources`: one model per kind of source, discriminated by `kind`.

Files are local paths, globs, or URIs (`s3://bucket/key*.parquet`, `gs://…`). A format is known by its suffix:
`.jsonl`, `.csv`, `.tsv` (each also `.gz`, `.zst` or `.bz2`), `.parquet`; `jobs/README.md` says what is read of each.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from polyglossa.recipe.sections.outside.synthetic import SyntheticColumns, TranslatedPairs, Writer, Writing
from polyglossa.recipe.strict import Strict

SOURCE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""A source names a folder."""

Task = Literal["retrieval", "bitext", "clustering", "classification", "sts"]
Format = Literal["jsonl", "csv", "tsv", "parquet"]


class EmbeddedSource(Strict):
    """What all sources share that come with an installed package: nothing is missing, nothing is capped."""

    name: str = Field(pattern=SOURCE_NAME)
    """Name of the source; rows carry it."""
    language: ClassVar[None] = None
    code: ClassVar[bool] = False
    max_queries: ClassVar[None] = None
    max_rejected_share: ClassVar[None] = None

    @property
    def row_sources(self) -> tuple[str, ...]:
        """Names that its rows carry."""
        return (self.name,)

    @property
    def given_languages(self) -> tuple[str, ...]:
        """Languages that the recipe gives, as it spells them."""
        return ()


class CldrSource(EmbeddedSource):
    """Names of territories, languages, currencies and scripts in every language of CLDR, read through Babel."""

    kind: Literal["cldr"]
    name: str = Field("cldr", pattern=SOURCE_NAME)
    """Name of the source; rows carry it."""
    pairs_per_name: int = Field(2, ge=1)
    """How many partner languages each name is paired with (English is always one of them)."""
    classification: bool = True
    """Also make name → kind pairs (task `classification`), as source `<name>_kind`."""

    @property
    def row_sources(self) -> tuple[str, ...]:
        """Names that its rows carry."""
        return (self.name, f"{self.name}_kind") if self.classification else (self.name,)


class PydocSource(EmbeddedSource):
    """First docstring paragraph → source of the function without its docstring, from Python's standard library."""

    kind: Literal["pydoc"]
    name: str = Field("pydoc", pattern=SOURCE_NAME)
    """Name of the source; rows carry it."""
    max_characters: int = Field(1200, ge=80)
    """Longer function bodies are cut here (characters)."""
    code: ClassVar[bool] = True


class ReadSource(Strict):
    """What all sources that are read from somewhere share."""

    name: str = Field(pattern=SOURCE_NAME)
    """Name of the source; rows carry it."""
    language: str | None = None
    """Language of all texts (ISO 639, with or without script), where no column says it; None: identified."""
    code: bool = False
    """Positives and negatives are program code: their characters are left alone."""
    max_queries: int | None = Field(None, ge=1)
    """Queries kept of this source; None takes `corpus.max_queries`."""
    max_rejected_share: float | None = Field(None, ge=0, le=1)
    """Share of rows that may be unreadable before the stage stops; None takes `corpus.max_rejected_share`."""

    @property
    def row_sources(self) -> tuple[str, ...]:
        """Names that its rows carry."""
        return (self.name,)

    @property
    def given_languages(self) -> tuple[str, ...]:
        """Languages that the recipe gives, as it spells them."""
        return () if self.language is None else (self.language,)


class FileSource(ReadSource):
    """A source in table files."""

    files: tuple[str, ...] = Field(min_length=1)
    """Paths, globs or URIs."""
    format: Format | None = None
    """Format of every file; None: known by the suffix."""
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    """What separates cells of CSV and TSV; None: read off each file (comma, semicolon, tab or bar)."""
    per_file: bool = False
    """Each file is a source of its own, named like the file: caps and batches are then per file, as published."""
    exclude: tuple[str, ...] = ()
    """Names (globs) of files among `files` that are left to other entries."""


class PairColumns(Strict):
    """Which column holds what; None: no column does."""

    query: str = "query"
    """Text that asks."""
    positive: str = "passage"
    """Text, or list of texts, that answers."""
    negatives: tuple[str, ...] = ()
    """Columns of wrong answers, each a text or a list of texts; empty cells count as absent."""
    group: str | None = None
    """Rows of one group are never each other's negatives."""
    label: str | None = None
    """A label to carry along."""
    score: str | None = None
    """Similarity (task `sts`)."""
    split: str | None = None
    """`train`, `validation` (also `dev`, `val`, `valid`, `eval`) or `heldout` (also `test`, `holdout`), in any case;
    rows of another are rejected, an empty one is `train`."""
    language: str | None = None
    """Language of the query, and of the positive unless `positive_language` is given."""
    positive_language: str | None = None
    """Language of the positive."""
    script: str | None = None
    """Script of the query (ISO 15924)."""
    instruction: str | None = None
    """Instruction of the query."""


class PairSource(FileSource):
    """One row per pair, in columns."""

    kind: Literal["pairs"]
    task: Task
    """Task of every row."""
    columns: PairColumns = PairColumns()
    """Mapping of columns."""


class DatasetSource(ReadSource):
    """One row per pair, in a Hugging Face data set: by hub name, or a directory that `save_to_disk` wrote."""

    kind: Literal["dataset"]
    dataset: str
    """Hub name or directory."""
    config: str | None = None
    """Configuration of the data set."""
    split: str = "train"
    """Split to read."""
    revision: str | None = None
    """Commit of the data set on the hub."""
    task: Task
    """Task of every row."""
    columns: PairColumns = PairColumns()
    """Mapping of columns."""


class F2llmSource(FileSource):
    """The published F2LLM-v2 layout: `query`, `passage`, `negative_1` … `negative_24`.

    Files with `negative_1` alone are two-way classification, whatever `task` says.
    """

    kind: Literal["f2llm"]
    task: Literal["retrieval", "bitext", "clustering", "classification", "sts"] = "retrieval"
    """Task of the files with more negatives."""


class BeirSource(ReadSource):
    """A BEIR directory: `corpus.jsonl`, `queries.jsonl`, `qrels/<split>.tsv`."""

    kind: Literal["beir"]
    path: str
    """Directory or URI."""
    split: str = "train"
    """Which qrels."""
    task: Task = "retrieval"
    """Task of every row."""


class BitextSource(FileSource):
    """The same sentence in many languages: `long` (a row per sentence and language) or `wide` (a column per language).

    Each text meets `partners` texts of other languages, the pivot's first; who asks is drawn by hash.
    """

    kind: Literal["bitext"]
    layout: Literal["long", "wide"] = "long"
    """Shape of the table."""
    index: str = "index_id"
    """Column that tells which rows are one sentence (layout `long`)."""
    text: str = "text"
    """Column of the sentence (layout `long`)."""
    language_column: str = "language"
    """Column of the language (layout `long`)."""
    script_column: str | None = None
    """Column of the script (layout `long`)."""
    languages: dict[str, str] = {}
    """Column → language (layout `wide`)."""
    pivot: str | None = "eng"
    """Language that every text is paired with; None: no language is preferred."""
    partners: int = Field(2, ge=1)
    """Texts of other languages that each text is paired with."""
    split: str | None = None
    """Column of the split, as in `pairs`; None: no column says it."""

    @property
    def given_languages(self) -> tuple[str, ...]:
        """Languages that the recipe gives, as it spells them."""
        return (*super().given_languages, *self.languages.values())

    @model_validator(mode="after")
    def _wide_names_its_columns(self) -> Self:
        if (self.layout == "wide") != bool(self.languages):
            raise ValueError("`languages` maps columns to languages: needed for layout `wide`, meaningless for `long`")
        return self


class LabelledSource(FileSource):
    """Labelled text: the positive is a text of the same label, negatives are texts of other labels.

    With two labels (two-way classification) the positive is the label itself and the negative the other label.
    """

    kind: Literal["labelled"]
    text: str = "text"
    """Column of the text."""
    label: str = "label"
    """Column of the label."""
    language_column: str | None = None
    """Column of the language."""
    script_column: str | None = None
    """Column of the script."""
    split: str | None = None
    """Column of the split, as in `pairs`; None: no column says it."""
    task: Literal["clustering", "classification"] = "clustering"
    """Task of every row."""
    negatives: int = Field(8, ge=1)
    """Negatives of each row, of labels drawn by hash."""


class SyntheticSource(ReadSource):
    """Pairs that a language model writes from table files, made by the stage `synthesize` and then read like any other.

    For languages that have no pairs: questions for passages, or translations of another language's pairs.
    """

    kind: Literal["synthetic"]
    files: tuple[str, ...] = Field(min_length=1)
    """Paths, globs or URIs of passages or pairs."""
    format: Format | None = None
    """Format of every file; None: known by the suffix."""
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    """What separates cells of CSV and TSV; None: read off each file (comma, semicolon, tab or bar)."""
    writer: Writer
    """Who writes."""
    make: Writing
    """What is written: a section with `kind: questions` or `kind: translations`."""
    task: Task = "retrieval"
    """Task of every row."""
    columns: SyntheticColumns = SyntheticColumns()
    """Mapping of columns."""
    per_language: int = Field(1000, ge=1)
    """Most rows of the files, by hash, that are written about for each language: passages of it, or pairs."""
    max_calls: int = Field(100_000, ge=1)
    """Most calls that a run may make; answers that are kept from before cost nothing."""
    max_written_tokens: int = Field(50_000_000, ge=1)
    """Most tokens of those calls, prompts and longest answers, estimated from bytes."""
    max_dropped_share: float = Field(0.5, ge=0, le=1)
    """Share of what was asked for that may give no pair before the stage stops."""
    seed: int = 0
    """Salt of the choice by hash."""

    @property
    def given_languages(self) -> tuple[str, ...]:
        """Languages that the recipe gives, as it spells them."""
        return (*super().given_languages, *(self.make.into if isinstance(self.make, TranslatedPairs) else ()))

    @model_validator(mode="after")
    def _knows_its_languages(self) -> Self:
        if self.code:
            raise ValueError("code: is not for sources that are written")
        if isinstance(self.make, TranslatedPairs) and self.language is None:
            raise ValueError("language: is missing; pairs are translated out of one language, which it names")
        if (self.language is None) == (self.columns.language is None):
            raise ValueError("`language`, or `columns.language`, says what the files are written in; give one of them")
        return self


Source = Annotated[
    CldrSource
    | PydocSource
    | PairSource
    | DatasetSource
    | F2llmSource
    | BeirSource
    | BitextSource
    | LabelledSource
    | SyntheticSource,
    Field(discriminator="kind"),
]
