"""Recipe section `corpus`: where rows come from and how they are cleaned."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BeforeValidator, Field, model_validator

from polyglossa.recipe.sections.sources import SOURCE_NAME, Source
from polyglossa.recipe.strict import Strict

# The defaults by kind of task in mteb's metadata of F2LLM-v2; a row's text after `Instruct: `.
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
    """Share of documents that get the instruction too, in symmetric tasks (clustering, bitext, sts)."""

    @model_validator(mode="after")
    def _every_task_has_one(self) -> Self:
        missing = sorted(set(_TASK_INSTRUCTIONS) - set(self.tasks))
        if missing:
            raise ValueError(f"`tasks` has no instruction for {', '.join(missing)}")
        return self


def _read_catalogue(value: Any) -> Any:
    """A path stands for the YAML file's content, so that the content shapes the artifact's hash."""
    if not isinstance(value, str):
        return value
    try:
        return yaml.safe_load(Path(value).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"the catalogue {value} cannot be read ({type(error).__name__}); give a YAML file") from None


class LanguageConfig(Strict):
    """How languages are identified where a source does not give them, and how given ones are checked."""

    model: str | None = None
    """A fastText model such as GlotLID (`model.bin`); None takes py3langid, whose model comes with the package."""
    min_confidence: float = Field(0.5, ge=0, le=1)
    """Identified languages below it are marked: kept, with their confidence in `language_confidence`."""
    checked_share: float = Field(0.01, ge=0, le=1)
    """Share of rows with a given language, by hash, whose query is also identified, to count disagreement."""


class NearDuplicatesConfig(Strict):
    """MinHash over 5-character shingles; query and positives are compared apart and both must be alike."""

    similarity: float = Field(0.85, gt=0, le=1)
    """Rows whose query and positives both have this Jaccard similarity are meant to be found; estimates decide with a
    tolerance of 2.3 standard errors below it, so most rows somewhat less alike are found too."""
    permutations: int = Field(128, ge=16)
    """MinHash values per text."""
    bands: int = Field(16, ge=1)
    """Bands; rows that agree in one band are compared."""
    rows: int = Field(8, ge=2)
    """MinHash values per band, half of the query's and half of the positives'."""
    seed: int = 0
    """Seed of the permutations."""

    @model_validator(mode="after")
    def _bands_fit(self) -> Self:
        if self.rows % 2 or self.bands * self.rows > 2 * self.permutations:
            raise ValueError("`rows` must be even and `bands` × `rows` at most 2 × `permutations`")
        return self


class EvaluationSet(Strict):
    """Texts that must not be trained on: a BEIR directory, or any folder of table files with texts."""

    name: str = Field(pattern=SOURCE_NAME)
    """Name in the report."""
    path: str
    """Folder, file, glob or URI. Every file is read, refused, or named in `exclude`."""
    exclude: tuple[str, ...] = ("qrels*", "README*", "LICENSE*", "*.md", "dataset_infos.json", "dataset_info.json")
    """Names (globs) of files and folders that hold no texts."""
    max_rejected_share: float = Field(0.1, ge=0, le=1)
    """Share of rows that may be unreadable before the stage stops: what is not read is not kept out."""
    columns: tuple[str, ...] = ("text", "title", "query", "sentence1", "sentence2", "sentences")
    """Columns that hold texts; those that a file does not have are passed over."""


class DecontaminationConfig(Strict):
    """What counts as contaminated. Texts are compared after folding case, white space and compatibility forms."""

    sets: tuple[EvaluationSet, ...] = ()
    """Evaluation sets by path."""
    tasks: tuple[str, ...] = ()
    """Evaluation sets that the `evaluation_texts` artifact holds (mteb tasks, by name)."""
    block_characters: int = Field(50, ge=10)
    """A training text that shares so long a block with an evaluation text is dropped (characters)."""
    spaceless_block_characters: int = Field(30, ge=5)
    """The same for blocks mostly in scripts that are written without spaces."""


class SamplingConfig(Strict):
    """Which queries of a source stay where not all may: shares of languages are evened out by a temperature."""

    keep_share: float = Field(1.0, gt=0, le=1)
    """Share of a source's queries that stays, besides the cap `max_queries`."""
    temperature: float = Field(1.0, ge=1)
    """A language with share p of a source's queries gets room in proportion to p^(1/temperature)."""


class CorpusConfig(Strict):
    """What the corpus is made of."""

    sources: tuple[Source, ...] = Field(min_length=1)
    """In order: where two sources hold the same row, the first keeps it."""
    data: str = ""
    """Folder or URI that relative paths of sources and evaluation sets start from; empty: the working directory."""
    instructions: Annotated[InstructionsConfig, BeforeValidator(_read_catalogue)] = InstructionsConfig()
    """Instructions of queries, by source or task; or the path of a YAML file that holds them."""
    languages: LanguageConfig = LanguageConfig()
    """Identification of languages."""
    min_characters: int = Field(1, ge=1)
    """Rows with a shorter text are rejected (characters)."""
    max_characters: int = Field(20_000, ge=1)
    """Rows with a longer text are rejected (characters)."""
    tokenizer: str | None = None
    """Tokenizer that `max_tokens` counts with: a directory with `tokenizer.json`, or a hub name."""
    max_tokens: int | None = Field(None, ge=1)
    """Rows with a longer text are rejected (tokens); needs `tokenizer`."""
    near_duplicates: NearDuplicatesConfig | None = None
    """Also drop near-duplicate rows; None drops exact duplicates only."""
    decontamination: DecontaminationConfig = DecontaminationConfig()
    """Evaluation sets whose texts are kept out."""
    max_queries: int | None = Field(None, ge=1)
    """Queries kept per source, those with the smallest hash (F2LLM-v2: 80,000); None keeps all."""
    sampling: SamplingConfig = SamplingConfig()
    """Which queries stay where not all may."""
    max_rejected_share: float = Field(0.1, ge=0, le=1)
    """A source of which more rows than this are unreadable stops the stage."""
    heldout_share: float = Field(0.1, gt=0, lt=0.5)
    """Share of concepts (cldr) or modules (pydoc) kept out of training for evaluation."""
    validation_share: float = Field(0.01, ge=0, lt=0.5)
    """Share of training rows, by hash of the query, kept for validation loss."""
    seed: int = 0
    """Salt of every choice by hash."""

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        names = Counter(name for source in self.sources for name in source.row_sources)
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise ValueError(f"`sources`: {twice[0]!r} names two sources; names must differ")
        if self.max_tokens is not None and self.tokenizer is None:
            raise ValueError("`max_tokens` needs `tokenizer`, to count with")
        return self
