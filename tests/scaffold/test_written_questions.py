"""Protects questions written by a chat endpoint: one a passage, gone on with, refusals in one line."""

import json
from pathlib import Path

import httpx
import pytest

from polyglossa.errors import EndpointError, UserError
from polyglossa.scaffold.begin import read_files
from polyglossa.scaffold.own.written_questions import ChatEndpoint, write_questions
from polyglossa.scaffold.propose import propose

PASSAGES = [f"passage {number} tells of thing {number}" for number in range(120)]


class Chat:
    """An endpoint that asks about the last word of a passage."""

    def __init__(self, status: int = 200) -> None:
        self.status, self.asked = status, 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.status != 200:
            return httpx.Response(self.status, text="no such model")
        word = json.loads(request.content)["messages"][0]["content"].split()[-1]
        text = f"<think>hm</think>\n- What is known of {word}?"
        return httpx.Response(200, json={"choices": [{"message": {"content": text}}]})

    def endpoint(self) -> ChatEndpoint:
        return ChatEndpoint("http://chat.test/v1", "writer", transport=httpx.MockTransport(self))


def test_a_question_is_written_for_each_passage_and_none_is_asked_for_twice(tmp_path: Path) -> None:
    chat, target = Chat(), tmp_path / "questions.jsonl"
    write_questions(PASSAGES[:100], chat.endpoint(), target)
    write_questions(PASSAGES, chat.endpoint(), target)
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert chat.asked == 120
    assert [row["answer"] for row in rows] == PASSAGES
    assert rows[7]["question"] == "What is known of 7?"


def test_documents_alone_become_a_source_where_somebody_writes(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for number, passage in enumerate(PASSAGES):
        (tmp_path / "docs" / f"{number}.md").write_text(passage)
    write = lambda passages: write_questions(passages, Chat().endpoint(), tmp_path / "own.questions.jsonl")  # noqa: E731
    proposals, documents = read_files([tmp_path / "docs"], propose, write)
    assert ([one.look.rows for one in proposals], len(documents)) == ([120], 120)


def test_few_passages_and_refusals_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="3 passages are too few"):
        write_questions(PASSAGES[:3], Chat().endpoint(), tmp_path / "questions.jsonl")
    with pytest.raises(EndpointError, match="refuses with 404: no such model"):
        write_questions(PASSAGES, Chat(404).endpoint(), tmp_path / "questions.jsonl")
    with pytest.raises(UserError, match="is no address of an endpoint"):
        write_questions(PASSAGES, ChatEndpoint("chat", "writer"), tmp_path / "questions.jsonl")
