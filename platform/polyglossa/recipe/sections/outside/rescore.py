"""Recipe section `mine.rescore`: a model that reads query and document together judges what mining found."""

import re
from typing import Self

from pydantic import Field, model_validator

from polyglossa.recipe.outside import ModelReference, OutsideModel, is_own
from polyglossa.recipe.strict import Strict

JUDGE_PROMPT = (
    "How well does the document answer the query? Say one whole number from 0 (unrelated) to 10 (answers it fully) "
    "and nothing else.\n\nQuery: {query}\n\nDocument: {document}\n\nNumber:"
)
_OF_JUDGES = ("prompt", "answer_tokens")


class RescoreConfig(Strict):
    """False negatives are refused by a cross-encoder or a judge, and scores of what stays travel with the negatives.

    Rows that are not mined, because they bring negatives, are not scored.
    """

    model: ModelReference
    """Who scores: a sentence-transformers `CrossEncoder` with one label, by name or directory, run here; or a section
    `{endpoint: URL, model: NAME}`, a model behind an OpenAI-compatible chat endpoint that is asked about each pair."""
    margin: float = Field(0.0, ge=0)
    """Candidates that score at least the row's lowest positive − margin are refused. On the model's own scale, as
    sentence-transformers gives it (most often 0 … 1); a judge's is 0 … 1."""
    spare: int = Field(8, ge=0)
    """Candidates beyond `negatives` that are scored too and take the places of refused ones, as far as `top_k`
    reaches."""
    max_tokens: int | None = Field(None, ge=8)
    """Longest pair that a cross-encoder reads (tokens); None means the model's own limit."""
    prompt: str = JUDGE_PROMPT
    """What a judge is asked, with the places `{query}` and `{document}`; it answers with a number from 0 to 10."""
    answer_tokens: int = Field(16, ge=1)
    """Longest answer of a judge (tokens); one that thinks aloud needs more."""
    max_pairs: int = Field(1_000_000, ge=1)
    """Most pairs that a run may have scored (calls, of a judge); scores that are kept from before cost nothing."""
    max_scored_tokens: int = Field(1_000_000_000, ge=1)
    """Most tokens of those pairs, prompts and answers included, estimated from their bytes."""
    max_unscored_share: float = Field(0.1, ge=0, le=1)
    """Share of the pairs that may get no finite score before the stage stops."""

    @property
    def judge(self) -> OutsideModel | None:
        """The model behind an endpoint, if it is one."""
        asked = isinstance(self.model, OutsideModel) and self.model.endpoint is not None
        return self.model if asked and isinstance(self.model, OutsideModel) else None

    @property
    def label(self) -> str:
        """How reports and messages call the model."""
        model = self.model if isinstance(self.model, OutsideModel) else OutsideModel(model=self.model)
        return model.label

    @model_validator(mode="after")
    def _asks_who_can_answer(self) -> Self:
        if is_own(self.model):
            raise ValueError(f"model: {self.model!r} embeds texts one by one; name a cross-encoder or an endpoint")
        if self.judge is None:
            given = [name for name in _OF_JUDGES if getattr(self, name) != type(self).model_fields[name].default]
            if given:
                raise ValueError(f"{given[0]}: is for a judge behind an `endpoint`, and there is none")
            return self
        if self.max_tokens is not None:
            raise ValueError("max_tokens: an endpoint cuts texts itself; leave it out")
        if self.judge.texts_per_request != OutsideModel.model_fields["texts_per_request"].default:
            raise ValueError("model.texts_per_request: a judge is asked about one pair a request; leave it out")
        missing = sorted({"query", "document"} - set(re.findall(r"\{([a-z_]+)\}", self.prompt)))
        if missing:
            raise ValueError(f"prompt: has no place for the {missing[0]}; write {{{missing[0]}}} where it goes")
        return self
