"""Ray's HTTP stage takes our session for an HTTP session: what one row is refused for stays its own, without Ray up."""

import asyncio
import json
from typing import Any

import numpy as np
from ray.llm._internal.batch.stages.http_request_stage import HttpRequestUDF

from polyglossa.recipe.sections.outside.synthetic import Writer
from polyglossa.synthesize.asking import _answer, _payload
from polyglossa.synthesize.session import FAILED, REFUSED, SAID, UNASKED, ChatSession
from tests.endpoint.fake import Fake, running
from tests.synthesize.writers import writes


def answers(url: str, prompts: list[str], in_flight: int = 2) -> list[dict[str, Any]]:
    """Send prompts as the processor's stage does."""
    writer = Writer(model="m", endpoint=url, patience_seconds=0.2, temperature=0.5, answer_tokens=9)
    stage = HttpRequestUDF("data", ["payload"], url=url, session_factory=lambda: ChatSession(writer, in_flight))
    rows = [{"key": str(n), "prompt": prompt} for n, prompt in enumerate(prompts)]
    batch = {"data": np.array([row | _payload(writer, row) for row in rows], dtype=object)}

    async def take() -> list[dict[str, Any]]:
        return [row async for part in stage(batch) for row in part["data"]]

    return [_answer(row) for row in asyncio.run(take())]


def test_answers_stand_beside_their_prompts_and_a_refusal_costs_its_row() -> None:
    fake = Fake(says=writes)
    with running(fake) as url:
        found = answers(url, [*(f"Write questions about {n}" for n in range(9)), "filtered"])
    assert [row["key"] for row in found] == [str(n) for n in range(10)]
    assert [row["state"] for row in found] == [SAID] * 9 + [REFUSED]
    assert all(f"tell of {n}" in row["text"] or str(n) in row["text"] for n, row in enumerate(found[:9]))
    assert found[0]["tokens"] > 0
    assert "The prompt was filtered" in found[9]["text"]
    sent = {(body["temperature"], body["max_tokens"], body["model"]) for body in fake.asked}
    assert sent == {(0.5, 9, "m")}
    assert fake.most_in_flight <= 2
    assert json.loads(json.dumps(found)) == found


def test_after_the_end_nothing_is_asked_and_what_came_before_is_there() -> None:
    fake = Fake(says=writes, stops_after=3)
    with running(fake) as url:
        found = answers(url, [f"Write questions about {n}" for n in range(8)], in_flight=1)
    assert [row["state"] for row in found] == [SAID] * 3 + [FAILED] + [UNASKED] * 4
    assert (found[3]["exit_code"], "/chat/completions: " in found[3]["text"]) == (1, True)
