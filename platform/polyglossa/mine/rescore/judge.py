"""A judge: a chat model that is asked, pair by pair, how well a document answers a query."""

import hashlib
import math
from collections.abc import Iterator, Sequence

from polyglossa.endpoint.chat import HIGHEST_GRADE, ChatClient, fill_in, read_grade
from polyglossa.endpoint.errors import TextRefused
from polyglossa.errors import EndpointError
from polyglossa.recipe.outside import OutsideModel
from polyglossa.recipe.sections.outside.rescore import RescoreConfig

_FEW = 8  # pairs that may all go without a grade by chance


class Judge:
    """A model behind a chat endpoint."""

    def __init__(self, client: ChatClient, prompt: str, answer_tokens: int) -> None:
        self._client, self._prompt, self._answer_tokens = client, prompt, answer_tokens

    @classmethod
    def of(cls, config: RescoreConfig, model: OutsideModel) -> "Judge":
        """Take what a recipe says."""
        return cls(ChatClient.of(model), config.prompt, config.answer_tokens)

    @property
    def fingerprint(self) -> str:
        """Model, prompt and length of the answer; not the address, so a model that moves keeps its scores."""
        told = repr(("judge", self._client.model, self._prompt, self._answer_tokens))
        return f"judge-{hashlib.blake2b(told.encode(), digest_size=12).hexdigest()}"

    def score(self, queries: Sequence[str], documents: Sequence[str]) -> Iterator[tuple[int, float]]:
        """See `PairScorer`.

        Raises:
            EndpointError: it stopped, or of many pairs grades none.
        """
        pairs = zip(queries, documents, strict=True)
        prompts = [fill_in(self._prompt, query=query, document=document) for query, document in pairs]
        graded, shown = 0, ""
        for position, answer in self._client.ask_all(prompts, most_tokens=self._answer_tokens):
            if isinstance(answer, TextRefused):
                grade, said = float("nan"), str(answer)
            else:
                grade, said = read_grade(answer.text), f"it says {answer.text[:80]!r}"
            shown = shown or said
            graded += not math.isnan(grade)
            yield position, grade
        if not graded and len(prompts) >= _FEW:
            raise EndpointError(
                f"{self._client.url}: {self._client.model!r} gave none of {len(prompts)} pairs a number from 0 to "
                f"{HIGHEST_GRADE} ({shown}). Change `mine.rescore.prompt`, or raise its `answer_tokens`."
            )
