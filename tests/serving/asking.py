"""Asking an endpoint: vectors of an answer, what a refusal says, many requests at once."""

import threading

import numpy as np

EMBED = "/v1/embeddings"


def embed(client, text, **fields):
    answer = client.post(EMBED, json={"model": "base", "input": text, **fields})
    assert answer.status_code == 200, answer.text
    return np.array([item["embedding"] for item in answer.json()["data"]])


def refusal(answer) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "Traceback" not in answer.text
    return answer.status_code, error["code"], error["param"]


def parallel(*calls):
    answers = [None] * len(calls)

    def run(index: int) -> None:
        answers[index] = calls[index]()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers
