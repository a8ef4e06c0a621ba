"""What a language model writes for a source of kind `synthetic`: questions for passages, or translations of pairs."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from polyglossa.recipe.outside import ModelReference, OutsideModel, is_own
from polyglossa.recipe.strict import Strict

QUESTION_PROMPT = (
    "Write questions that a person would ask and that the following passage answers: {count} of them, one a line, in "
    "the language of the passage, in other words than the passage uses, and nothing else.\n\n{passage}"
)
TRANSLATION_PROMPT = (
    "Translate the following text into {language}, as a native speaker would write it. Write the translation and "
    "nothing else.\n\n{text}"
)
GRADE_PROMPT = (
    "How much of the meaning do these two texts share? Say one whole number from 0 (nothing) to 10 (all of it) and "
    "nothing else.\n\nFirst: {text}\n\nSecond: {back}\n\nNumber:"
)


def _check_places(field: str, prompt: str, *names: str) -> None:
    missing = sorted(set(names) - set(re.findall(r"\{([a-z_]+)\}", prompt)))
    if missing:
        raise ValueError(f"{field}: has no place for the {missing[0]}; write {{{missing[0]}}} where it goes")


class WrittenQuestions(Strict):
    """Questions about passages, in the passages' own language."""

    kind: Literal["questions"]
    per_passage: int = Field(1, ge=1)
    """Most questions taken of one answer."""
    prompt: str = QUESTION_PROMPT
    """What the writer is asked, with the places `{passage}` and, where there are more questions than one, `{count}`."""

    @model_validator(mode="after")
    def _has_places(self) -> Self:
        _check_places("prompt", self.prompt, "passage", *(["count"] if self.per_passage > 1 else []))
        return self


class BackTranslation(Strict):
    """A filter: what is translated back must mean what the text meant."""

    language: str = Field(min_length=1)
    """Name of the pairs' own language, as prompts say it: `English`."""
    model: ModelReference | None = None
    """Encoder whose cosine compares a text with what came back: by name or directory, or a section `{endpoint: URL,
    model: NAME}`. None has the writer grade them."""
    least: float = Field(0.8, ge=-1, le=1)
    """Pairs of which a side is less alike are dropped: a cosine, or the grade over 10."""
    prompt: str = TRANSLATION_PROMPT
    """What the writer is asked for the way back, with the places `{text}` and `{language}`."""
    grade_prompt: str = GRADE_PROMPT
    """What the writer is asked where it grades, with the places `{text}` and `{back}`."""

    @model_validator(mode="after")
    def _can_judge(self) -> Self:
        if self.model is not None and is_own(self.model):
            raise ValueError(
                f"model: {self.model!r} is trained on the corpus that this writes; name a directory, a hub name, or an "
                "endpoint"
            )
        _check_places("prompt", self.prompt, "text", "language")
        _check_places("grade_prompt", self.grade_prompt, "text", "back")
        return self


class TranslatedPairs(Strict):
    """Pairs of one language, both sides translated into others."""

    kind: Literal["translations"]
    into: dict[str, str] = Field(min_length=1)
    """Language (ISO 639) → its name as prompts say it: `{swh: Swahili}`."""
    prompt: str = TRANSLATION_PROMPT
    """What the writer is asked, with the places `{text}` and `{language}`."""
    back_translation: BackTranslation | None = None
    """A filter of the translations; None keeps all."""

    @model_validator(mode="after")
    def _has_places(self) -> Self:
        _check_places("prompt", self.prompt, "text", "language")
        return self


Writing = Annotated[WrittenQuestions | TranslatedPairs, Field(discriminator="kind")]


class Writer(OutsideModel):
    """The model that writes, behind an OpenAI-compatible chat endpoint."""

    temperature: float = Field(0.0, ge=0, le=2)
    """0 asks for the likeliest answer, so that the same prompt gives the same."""
    answer_tokens: int = Field(512, ge=1)
    """Longest answer (tokens); one that is cut there is dropped. A writer that thinks aloud needs more."""

    @model_validator(mode="after")
    def _is_behind_an_endpoint(self) -> Self:
        if self.endpoint is None:
            raise ValueError("endpoint: is missing; a writer is asked over HTTP (vLLM, llama.cpp, any provider)")
        if self.texts_per_request != OutsideModel.model_fields["texts_per_request"].default:
            raise ValueError("texts_per_request: a writer is asked one thing a request; leave it out")
        return self


class SyntheticColumns(Strict):
    """Which column of the files holds what."""

    passage: str = "text"
    """Passages, where questions are written."""
    query: str = "query"
    """Query of a pair, where pairs are translated."""
    positive: str = "passage"
    """Positive of a pair, likewise."""
    language: str | None = None
    """Language of the row; None: no column does."""
