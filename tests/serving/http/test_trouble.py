"""What happens in trouble and under load, without Ray: members that fail, are slow or new; texts asked for at once."""

import threading
import time

from tests.serving.asking import EMBED, embed, parallel, refusal


def test_bad_text_fails_alone(open_api, local) -> None:
    client = open_api()
    marker = local["base"].encoder.tokenize(["ж"])[0][-2]
    local["base"].poison = marker
    answers = parallel(
        lambda: client.post(EMBED, json={"model": "base", "input": "ж"}),
        *(lambda n=n: client.post(EMBED, json={"model": "base", "input": f"fine {n}"}) for n in range(4)),
    )
    assert [answer.status_code for answer in answers] == [424, 200, 200, 200, 200]


def test_failing_member_is_424_and_recovers(open_api, local) -> None:
    client = open_api()
    local["base"].failing = RuntimeError("secret inside")
    answer = client.post(EMBED, json={"model": "base", "input": "a"})
    assert refusal(answer)[:2] == (424, "backend_failed")
    assert "secret" not in answer.text
    local["base"].failing = None
    embed(client, "a")


def test_full_queue_is_429_with_retry_after_and_empties_again(open_api, local) -> None:
    client = open_api(limits={"queue_items": 4, "request_seconds": 0.4})
    client.portal.call(local["base"].hold.clear)
    first = threading.Thread(
        target=client.post, args=(EMBED,), kwargs={"json": {"model": "base", "input": list("abcd")}}
    )
    first.start()
    time.sleep(0.1)
    answer = client.post(EMBED, json={"model": "base", "input": "e"})
    assert refusal(answer)[:2] == (429, "overloaded")
    assert int(answer.headers["retry-after"]) >= 1
    first.join()
    client.portal.call(local["base"].hold.set)
    embed(client, "e")


def test_slow_member_is_503_in_time_and_its_batch_is_called_back(open_api, local) -> None:
    client = open_api(limits={"request_seconds": 0.2})
    client.portal.call(local["base"].hold.clear)
    assert refusal(client.post(EMBED, json={"model": "base", "input": "slow"}))[:2] == (503, "timeout")
    time.sleep(0.05)
    assert local["base"].cancelled == 1


def test_replica_of_another_version_never_answers_for_this_one(open_api, local) -> None:
    client = open_api()
    local["base"].tokenizer = "another"
    assert refusal(client.post(EMBED, json={"model": "base", "input": "a"}))[:2] == (503, "replacing")


def test_text_shared_with_a_request_of_too_many_tokens_is_answered(open_api, local) -> None:
    client = open_api(limits={"request_tokens": 100})
    texts = ["shared", *(f"{n} " + "x y " * 40 for n in range(3))]
    answers = parallel(
        *(lambda: client.post(EMBED, json={"model": "base", "input": "shared"}) for _ in range(3)),
        lambda: client.post(EMBED, json={"model": "base", "input": texts}),
    )
    assert [answer.status_code for answer in answers] == [200, 200, 200, 413]


def test_member_that_is_not_there_yet_is_503_and_not_ready(models, local) -> None:
    from fastapi.testclient import TestClient

    from polyglossa.serving.family import Family
    from polyglossa.serving.http.api import make_api
    from polyglossa.serving.metrics import Metrics
    from polyglossa.serving.settings import read_settings

    settings = read_settings({"members": [{"name": "base", "path": models["base"]}]})
    metrics = Metrics("r1")
    local["base"].hold.clear()
    family = Family(settings, {"base": local["base"].send}, metrics)
    with TestClient(make_api(family, settings, metrics)) as client:
        assert refusal(client.get("/ready"))[:2] == (503, "starting")
        assert refusal(client.post(EMBED, json={"model": "base", "input": "a"}))[:2] == (503, "starting")
        assert client.get("/health").status_code == 200


def test_same_text_in_flight_is_computed_once_and_cached_after(open_api, local) -> None:
    client = open_api(cache_mib=1)
    before = len(local["base"].batches)
    client.portal.call(local["base"].hold.clear)
    waiting = [threading.Thread(target=embed, args=(client, "same text")) for _ in range(5)]
    for thread in waiting:
        thread.start()
    time.sleep(0.2)
    client.portal.call(local["base"].hold.set)
    for thread in waiting:
        thread.join()
    embed(client, "same text")
    assert local["base"].batches[before:] == [[len(local["base"].encoder.tokenize(["same text"])[0])]]
