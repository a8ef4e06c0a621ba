"""The hub gets a card that it reads; a token that may not write is one line; nothing is sent unless it is asked for."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from polyglossa.errors import PolyglossaError, UserError
from polyglossa.export.hub import HubCard, check_card, listing, model_index, upload, write_card

RESULT = {
    "task_name": "STSBenchmark",
    "task_type": "STS",
    "dataset": "mteb/stsbenchmark-sts",
    "metric": "cosine_spearman",
    "dataset_revision": "b0fddb56",
    "scores": {"test": [{"hf_subset": "default", "main_score": 0.8123456, "languages": ["eng-Latn"]}]},
}


def head(folder: Path) -> dict:
    return yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])


def test_a_card_keeps_its_text_and_gets_licence_and_results(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\ntags: [matryoshka]\nbase_model: a/b\n---\n# small\n\nMade of rivers.\n")
    write_card(tmp_path, HubCard("me/small", "apache-2.0", languages=["en"], results=[RESULT]))
    found = head(tmp_path)
    assert (found["license"], found["base_model"], found["language"]) == ("apache-2.0", "a/b", ["en"])
    assert found["tags"] == ["matryoshka", "sentence-transformers", "mteb"]
    assert (tmp_path / "README.md").read_text().endswith("# small\n\nMade of rivers.\n")
    again = (tmp_path / "README.md").read_bytes()
    write_card(tmp_path, HubCard("me/small", "apache-2.0", languages=["en"], results=[RESULT]))
    assert (tmp_path / "README.md").read_bytes() == again


def test_results_are_in_the_form_that_the_hub_reads_back(tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    write_card(tmp_path, HubCard("me/small", "mit", results=[RESULT]))
    (found,) = ModelCard.load(tmp_path / "README.md").data.eval_results
    assert (found.task_type, found.dataset_type, found.dataset_split) == ("STS", "mteb/stsbenchmark-sts", "test")
    assert (found.metric_type, found.metric_value) == ("cosine_spearman", 81.2346)
    assert model_index([RESULT])[0]["dataset"]["revision"] == "b0fddb56"


@pytest.mark.parametrize(("name", "licence"), [("small", "mit"), ("a/b/c", "mit"), ("me/small", "Apache 2")])
def test_names_and_licences_that_a_hub_refuses_are_refused_here(name: str, licence: str) -> None:
    with pytest.raises(UserError, match="write"):
        check_card(name, licence)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """A hub on the loopback that knows one reader's token and lets nobody write; what it is asked is kept."""
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            asked.append((self.path, self.headers.get("authorization", "")))
            status = 403 if self.headers.get("authorization") == "Bearer reader" else 401
            body = json.dumps({"error": "forbidden"}).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_HEAD = _answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", address)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("token", "status"), [("reader", "403"), ("nobody", "401")])
def test_a_token_without_rights_is_one_line_that_names_its_variable(
    hub: list, token: str, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", token)
    with pytest.raises(UserError, match=rf"MY_TOKEN \({status}\)") as caught:
        upload(tmp_path, "me/small", token_variable="MY_TOKEN", private=False)
    assert token not in str(caught.value)
    assert {sent for _, sent in hub if sent} == {f"Bearer {token}"}


def test_without_a_token_nothing_is_asked(hub: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_TOKEN", raising=False)
    with pytest.raises(UserError, match="MY_TOKEN holds no token"):
        upload(tmp_path, "me/small", token_variable="MY_TOKEN", private=False)
    assert hub == []


def test_a_hub_out_of_reach_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "x")
    with pytest.raises(PolyglossaError, match="could not be reached"):  # the suite is offline
        upload(tmp_path, "me/small", token_variable="MY_TOKEN", private=False)


def test_what_would_be_sent_is_listed_with_sizes(tmp_path: Path) -> None:
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling/config.json").write_text("{}")
    assert listing(tmp_path) == [("1_Pooling/config.json", 2)]
