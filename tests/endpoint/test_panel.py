"""An endpoint that changes is another model; one that is only restarted, moved or noisy is the same."""

from pathlib import Path
from typing import Any

import pytest

from polyglossa.endpoint import EndpointClient
from polyglossa.endpoint.panel import LONG, SHORT, long_text
from polyglossa.errors import EndpointError
from polyglossa.evaluate.models.states import StoredEmbed
from polyglossa.vectors import VectorStore
from tests.endpoint.fake import Fake, running


def fingerprint(fake: Fake, root: Path | None = None) -> str:
    with running(fake) as url:
        return EndpointClient(url, fake.model, root=str(root) if root else None).fingerprint


@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize(
    "words",
    [(3, 100), (3, 4), (8, 512), (100, 128), (510, 512), (512, 8192), (2048, 4096), (4096, 5000)],
    ids=lambda pair: f"{pair[0]} → {pair[1]}",
)
def test_another_truncation_length_is_another_model(pooling: str, words: tuple[int, int], tmp_path: Path) -> None:
    before = Fake(pooling=pooling, words=words[0], width=64)
    after = before.restarted(words=words[1])
    assert fingerprint(before, tmp_path) != fingerprint(after, tmp_path)
    assert fingerprint(before) != fingerprint(after)


@pytest.mark.parametrize("changes", [{"width": 8}, {"model": "n"}, {"pooling": "last"}, {"longest": 100}], ids=str)
def test_another_width_model_pooling_or_refusal_is_another_model(changes: dict[str, Any], tmp_path: Path) -> None:
    fake = Fake()
    assert fingerprint(fake, tmp_path) != fingerprint(fake.restarted(**changes), tmp_path)


class Prompting(Fake):
    """Puts a prompt of its own before each text, or takes white space, case or a prompt away."""

    def vectors(self, texts: list[str], request: int) -> Any:
        return super().vectors([self.change(text) for text in texts], request)


@pytest.mark.parametrize(
    "change",
    [lambda text: f"query: {text}", str.lower, lambda text: text.removeprefix("query: ").removeprefix("passage: ")],
    ids=["prompt", "lower case", "no prompt"],
)
def test_another_handling_of_prompts_or_case_is_another_model(change: Any, tmp_path: Path) -> None:
    other = Prompting()
    other.change = change
    assert fingerprint(Fake(), tmp_path) != fingerprint(other, tmp_path)


@pytest.mark.parametrize("noise", [0.0, 1e-6, 1e-5, 1e-4, 2e-3])
def test_noise_of_one_model_does_not_change_it(noise: float, tmp_path: Path) -> None:
    fake = Fake(noise=noise, width=64)
    assert len({fingerprint(fake, tmp_path) for _ in range(4)}) == 1
    assert fingerprint(fake.restarted(words=100), tmp_path) != fingerprint(fake, tmp_path)


def test_format_and_size_of_requests_do_not_change_a_model() -> None:
    changes: list[dict[str, Any]] = [{}, {"formats": ("float",)}, {"most_texts": 2}, {"busy": 1}]
    assert len({fingerprint(Fake().restarted(**change)) for change in changes}) == 1


def test_the_panel_speaks_many_scripts_with_prompts_and_at_every_length() -> None:
    assert len(SHORT) == len(set(SHORT))
    assert {"query: ", "passage: ", "Instruct: "} <= {text[: text.find(" ") + 1] for text in SHORT}
    assert [len(text.split()) for text in LONG] == [0, 6, 24, 96, 384, 1536, 6144]
    assert len(set(long_text(6144).split())) > 3000


def test_what_an_endpoint_embeds_after_it_changed_is_not_kept_as_what_it_was(tmp_path: Path) -> None:
    fake = Fake(words=3)
    with running(fake) as url:
        client = EndpointClient(url, fake.model)
        store = VectorStore(str(tmp_path), client.fingerprint)
        embed = StoredEmbed(client.embed, store, client.confirm)
        embed(["one text"])
        fake.words = 100
        with pytest.raises(EndpointError, match="answers otherwise than when its fingerprint was taken"):
            embed(["one text", "a longer text of seven words here"])
    store.refresh()
    assert len(store) == 1
