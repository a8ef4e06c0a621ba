"""Recipe section `evaluate`: which tasks judge which models, how sure the figures are, and who may be promoted."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from polyglossa.recipe.strict import Strict, is_absent, is_off

TASK_NAME = r"^[A-Za-z0-9][A-Za-z0-9._ ()-]*$"


class _LocalTask(Strict):
    name: str = Field(pattern=TASK_NAME)
    """Name of the task in results."""
    instruction: str | None = None
    """Instruction of its queries (retrieval) or of all its texts; None takes the model's prompt for the kind."""
    language: str = "und"
    """Language (ISO 639-3) of rows that have no language column."""
    max_rejected_share: float = Field(0.1, ge=0, le=1)
    """Share of a file's rows that may be unreadable, and of judgements that may name a query or document that is not
    there, before the task is refused; below, they are counted beside the score."""


class RetrievalTask(_LocalTask):
    """A BEIR directory: tables `corpus`, `queries` and `qrels` (or `qrels/test`), in any format that is read.

    A corpus may be larger than memory: its texts are mapped from a file, its vectors read again from the vector store.
    """

    kind: Literal["retrieval"]
    path: str
    """The directory."""
    subset_columns: tuple[str, ...] = ("subset",)
    """Columns of queries and corpus that tell subsets apart, where they are there; each is searched alone."""


class ClassificationTask(_LocalTask):
    """Labelled text: a classifier is fitted on a few examples per label and judged on the test rows."""

    kind: Literal["classification"]
    path: str
    """Test rows: a table file."""
    train: str | None = None
    """Rows to fit on; None cuts the test rows in two, by hash of the text."""
    text: str = "text"
    label: str = "label"
    subset_columns: tuple[str, ...] = ()
    """Columns that tell subsets apart (`[language, script]`); none: one subset."""
    samples_per_label: int = Field(8, ge=1)
    """Examples per label that each classifier is fitted on."""
    experiments: int = Field(10, ge=1)
    """Classifiers fitted, each on another sample."""


class BitextTask(_LocalTask):
    """A table of translations: every variety's sentences are matched with those of a pivot."""

    kind: Literal["bitext"]
    path: str
    id: str = "index_id"
    """Column that is equal in translations of each other."""
    text: str = "text"
    subset_columns: tuple[str, ...] = ("language", "script")
    """Columns that name a variety."""
    pivot: str = "eng_Latn"
    """The variety that others are matched with: its columns joined by `_`."""


class StsTask(_LocalTask):
    """Pairs of sentences with a score of their similarity."""

    kind: Literal["sts"]
    path: str
    sentence1: str = "sentence1"
    sentence2: str = "sentence2"
    score: str = "score"
    subset_columns: tuple[str, ...] = ()
    """Columns that tell subsets apart; none: one subset."""


LocalTask = Annotated[RetrievalTask | ClassificationTask | BitextTask | StsTask, Field(discriminator="kind")]


class GateConfig(Strict):
    """What a member must reach for its alias to move to it."""

    mean: float | None = Field(None, ge=0, le=1)
    """Least mean over tasks."""
    worst_language: float | None = Field(None, ge=0, le=1)
    """Least score of any language of any task."""
    half_width_keeps: float | None = Field(None, ge=0, le=1)
    """Least share of the full width's mean that half the width keeps, on every task with widths."""
    largest_loss: float | None = Field(None, ge=0, le=1)
    """Largest loss on any task against the model that the alias names now."""
    gain: float | None = Field(None, ge=0, le=1, exclude_if=is_absent)
    """Least gain on every task of `own.tasks` over the model that the member started from."""


def _is_cheap(value: str) -> bool:
    return value == "cheap"


class EvaluateConfig(Strict):
    """What every member is judged by."""

    heldout: tuple[str, ...] = ("cldr", "pydoc")
    """Sources whose held-out part becomes an mteb task."""
    tasks: tuple[str, ...] = ()
    """Further mteb tasks, by name."""
    benchmarks: tuple[str, ...] = ()
    """mteb benchmarks, by mteb's name or as one of the presets (`multilingual`, `english`, `code` …)."""
    languages: tuple[str, ...] = ()
    """Of `tasks` and `benchmarks`, only subsets in these languages (ISO 639-3); empty: all."""
    task_types: tuple[str, ...] = ()
    """Of `benchmarks`, only tasks of these types, as mteb names them; empty: all."""
    local: tuple[LocalTask, ...] = ()
    """Tasks from files."""
    data: str = ""
    """Folder that relative paths of local tasks start from; empty: the working directory."""
    teacher_documents: bool = False
    """Also let a taught member's queries search its teacher's document vectors (held-out sets): one index for both."""
    judged_as: str | None = Field(None, pattern=r"^[^@\s]+(@[^@\s]+)?$", exclude_if=is_absent)
    """Judge every model as mteb runs the one of this name (`codefuse-ai/F2LLM-v2-0.6B`, or `name@revision`): its
    prompts task by task, longest text, end token and precision, read from mteb's metadata. None: what a model directory
    pins counts, then the defaults of each kind of task."""
    widths: bool = True
    """Also score every Matryoshka width."""
    untrained: Literal["cheap", "all", "none"] = Field("cheap", exclude_if=_is_cheap)
    """How models are judged that nobody serves: what a member started from, and what it was before its average. `cheap`
    takes the held-out sets and the tasks from files, and judges nothing where there is neither; `all` takes everything
    that members are judged by; `none` judges none of them."""
    compressed: bool = Field(False, exclude_if=is_off)
    """Also score compressed vectors at the full width and at every one of `widths`: int8, sign bits, and sign bits
    whose best documents are scored again by float queries (searches alone); and say what share of the score they
    keep."""
    max_tokens: int | None = Field(None, ge=8)
    """Longest text in evaluation; None means the model's own limit."""
    dtype: Literal["float32", "bfloat16"] | None = Field(None, exclude_if=is_absent)
    """Precision of embedding: at least this one (bfloat16 is computed where the device gains by it). None takes
    bfloat16 on GPUs and float32 on processors; figures of one precision are compared with figures of the same."""
    resamples: int = Field(1000, ge=100)
    """Bootstrap resamples behind each interval."""
    seed: int = 0
    """Seed of the resamples."""
    gate: GateConfig | None = None
    """Conditions of promotion; None lets every member pass."""

    def for_members(self) -> Self:
        """What members are judged by; `untrained` is no part of it."""
        return type(self).model_validate({**self.model_dump(), "untrained": "cheap"})

    def for_untrained(self) -> Self | None:
        """What models are judged by that nobody serves; None judges none of them."""
        members = self.for_members()
        if self.untrained == "all":
            return members
        cheap = {**members.model_dump(), "tasks": (), "benchmarks": ()}
        return type(self).model_validate(cheap) if self.untrained == "cheap" and (self.heldout or self.local) else None

    def restricted_to(self, names: Sequence[str]) -> Self:
        """Judge by some held-out sets and tasks alone, and by no benchmark; the gate is left out."""
        kept = {
            "heldout": tuple(name for name in self.heldout if name in names),
            "tasks": tuple(name for name in self.tasks if name in names),
            "local": tuple(task for task in self.local if task.name in names),
            "benchmarks": (),
            "gate": None,
            "teacher_documents": False,
        }
        return type(self).model_validate({**self.model_dump(), **kept})

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [*self.heldout, *self.tasks, *(task.name for task in self.local)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"evaluate: {twice[0]!r} names two tasks; names must differ")
        if self.judged_as is not None and (self.max_tokens is not None or self.dtype is not None):
            raise ValueError("`judged_as` brings longest text and precision; leave `max_tokens` and `dtype` out")
        return self


class EvaluationTextsConfig(Strict):
    """Tasks whose texts are exported, so that the corpus keeps them out of training. Derived, never written."""

    tasks: tuple[str, ...] = ()
    """mteb tasks, by name."""
    local: tuple[LocalTask, ...] = ()
    """Tasks from files."""
    data: str = ""
    """Folder that relative paths of local tasks start from."""

    @classmethod
    def of(cls, evaluate: EvaluateConfig, names: Sequence[str]) -> "EvaluationTextsConfig":
        """Sort names into the recipe's own local tasks and those of mteb."""
        local = tuple(task for task in evaluate.local if task.name in names)
        known = {task.name for task in local}
        return cls(tasks=tuple(name for name in names if name not in known), local=local, data=evaluate.data)
