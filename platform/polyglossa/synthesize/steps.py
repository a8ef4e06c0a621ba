"""What a writer is asked, step by step, and what it costs before anything is asked. Pure but for looking at answers.

An assignment is one text that something is written from. Its steps follow one another: translate, translate back,
grade. A step's prompt is made of the text and of what the steps before it gave, so kept answers are found again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from polyglossa.answer_store import AnswerStore
from polyglossa.costing.work import TEXT_BYTES
from polyglossa.endpoint.chat import fill_in
from polyglossa.errors import UserError
from polyglossa.recipe.sections.outside.synthetic import TranslatedPairs, WrittenQuestions
from polyglossa.recipe.sections.sources import SyntheticSource
from polyglossa.records import row_id
from polyglossa.synthesize.select import Chosen

ANSWER = pa.struct([("text", pa.string()), ("cut", pa.bool_())])
"""A writer's answer as it is kept."""


@dataclass(frozen=True)
class Assignment:
    """One text that something is written from."""

    text: str
    language: str
    """Of what is written."""


Step = Callable[[Assignment, Sequence[str]], str]
"""Takes an assignment and the answers of the steps before; gives the prompt."""


@dataclass(frozen=True)
class Plan:
    """What is asked for the chosen rows, and the most that it costs."""

    assignments: Sequence[Assignment]
    steps: Sequence[Step]
    calls: int
    """Most calls, kept answers apart."""
    tokens: int
    """Most tokens of those calls, about."""
    kept: int
    """Answers that are there."""

    def describe(self, source: SyntheticSource) -> str:
        """Say what it costs, in one line."""
        kept = f"; {self.kept:,} answers are kept from before" if self.kept else ""
        return (
            f"synthesize {source.name}: {source.writer.label} is asked at most {self.calls:,} times, at most about "
            f"{self.tokens:,} tokens{kept}"
        )

    def check_caps(self, source: SyntheticSource) -> None:
        """Stop before anything is spent where it would be more than the recipe allows.

        Raises:
            UserError: it would.
        """
        for name, wanted in (("max_calls", self.calls), ("max_written_tokens", self.tokens)):
            most = getattr(source, name)
            if wanted > most:
                raise UserError(
                    f"corpus source {source.name!r}: {name}: {wanted:,} would be needed, and {most:,} are allowed; "
                    "nothing was asked. Raise it, or lower `per_language`."
                )


def plan_writing(source: SyntheticSource, rows: Sequence[Chosen], store: AnswerStore) -> Plan:
    """Lay out what is asked, and count what is not answered yet.

    Args:
        source: what is written, and by whom.
        rows: what it is written from.
        store: the writer's answers so far.
    """
    assignments = assignments_of(source, rows)
    steps = steps_of(source)
    written = [Written(one) for one in assignments]
    calls = kept = 0
    sent = 0.0
    for number, step in enumerate(steps):
        prompts = [step(one.assignment, one.answers) for one in written]
        answers = store.read(keys_of(prompts)).to_pylist()
        missing = [prompt for prompt, answer in zip(prompts, answers, strict=True) if answer is None]
        calls += len(missing) * (len(steps) - number)
        sent += (len(steps) - number) * sum(len(prompt.encode("utf-8", "replace")) for prompt in missing)
        kept += len(answers) - len(missing)
        for one, answer in zip(written, answers, strict=True):
            one.take(answer)
        written = [one for one in written if one.reason is None]
    tokens = round(sent / TEXT_BYTES) + calls * source.writer.answer_tokens
    return Plan(assignments, steps, calls, tokens, kept)


def assignments_of(source: SyntheticSource, rows: Sequence[Chosen]) -> list[Assignment]:
    """Name what is written: a passage's questions, or each text in each language; equal ones once."""
    if isinstance(source.make, WrittenQuestions):
        return list(dict.fromkeys(Assignment(row.texts[0], row.language) for row in rows))
    texts = dict.fromkeys(text for row in rows for text in row.texts)
    return [Assignment(text, language) for language in source.make.into for text in texts]


def steps_of(source: SyntheticSource) -> list[Step]:
    """Name what is asked of an assignment, in order."""
    make = source.make
    if isinstance(make, WrittenQuestions):
        prompt, count = make.prompt, str(make.per_passage)
        return [lambda one, _: fill_in(prompt, passage=one.text, count=count)]
    return _translating(make)


def _translating(make: TranslatedPairs) -> list[Step]:
    back, names = make.back_translation, make.into
    steps: list[Step] = [lambda one, _: fill_in(make.prompt, text=one.text, language=names[one.language])]
    if back is None:
        return steps
    steps.append(lambda _, answers: fill_in(back.prompt, text=answers[0], language=back.language))
    if back.model is None:
        steps.append(lambda one, answers: fill_in(back.grade_prompt, text=one.text, back=answers[1]))
    return steps


@dataclass
class Written:
    """An assignment with the answers that it got."""

    assignment: Assignment
    answers: list[str] = field(default_factory=list)
    reason: str | None = None
    """Why nothing comes of it."""
    likeness: float | None = None
    """How alike the text and its back-translation are, where that is asked."""

    def take(self, answer: dict[str, object] | None, refusal: str | None = None) -> None:
        """Take the answer of the next step, or why there is none."""
        if answer is None:
            self.reason = refusal or "not_answered"
        elif answer["cut"]:
            self.reason = "answer_cut"
        elif not str(answer["text"]).strip():
            self.reason = "empty_answer"
        else:
            self.answers.append(str(answer["text"]))


def keys_of(prompts: Sequence[str]) -> pa.Array:
    """Keys of prompts in the answer store."""
    return pa.array([row_id(prompt) for prompt in prompts], pa.binary(16))
