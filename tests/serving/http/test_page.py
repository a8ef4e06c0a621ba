"""The try-it page, in a real browser: search works, widths follow the member, nothing is fetched from elsewhere."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest
import uvicorn
from fastapi import FastAPI

from polyglossa.model.encoder import Encoder
from polyglossa.serving.documents import write_documents
from tests.serving import chrome
from tests.serving.conftest import TEXTS

pytestmark = pytest.mark.skipif(chrome.BINARY is None, reason="no Chromium on this machine")


@pytest.fixture
def page(open_api, tmp_path: Path, free_port: int) -> Iterator[tuple[chrome.Tab, str]]:
    with showing(open_api().app, tmp_path, free_port) as shown:
        yield shown


@contextmanager
def showing(app: FastAPI, tmp_path: Path, free_port: int) -> Iterator[tuple[chrome.Tab, str]]:
    """Serve an application and open its page."""
    server = uvicorn.Server(uvicorn.Config(app, port=free_port, log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        with chrome.tab(tmp_path / "profile") as tab:
            tab.open(f"http://127.0.0.1:{free_port}/")
            tab.wait("document.querySelectorAll('#model option').length === 2")
            yield tab, f"http://127.0.0.1:{free_port}/"
    finally:
        server.should_exit = True
        thread.join()


def test_search_ranks_the_texts_and_tells_the_latency(page: tuple[chrome.Tab, str]) -> None:
    tab, url = page
    tab.evaluate("$('texts').value = 'ドイツ\\n<b>Saksa</b>\\nGermany'; $('query').value = 'Germany'; $('go').click()")
    results = tab.wait("document.querySelectorAll('#results li').length === 3 && $('results').innerText")
    scores = [float(line) for line in results.split("\n") if line.replace(".", "").replace("-", "").isdigit()]
    assert scores == sorted(scores, reverse=True)
    assert "<b>Saksa</b>" in results
    assert "ms for 4 texts" in tab.evaluate("$('status').textContent")
    assert tab.console == []
    assert all(address.startswith(url) for address in tab.requested), tab.requested


def test_widths_follow_the_member_and_refusals_are_shown(page: tuple[chrome.Tab, str]) -> None:
    tab, _ = page
    widths = "JSON.stringify([...$('width').options].map(one => Number(one.value)))"
    assert json.loads(tab.evaluate(widths)) == [32, 16, 8]
    tab.evaluate("$('model').value = 'small'; $('model').dispatchEvent(new Event('change'))")
    assert json.loads(tab.evaluate(widths)) == [16, 8]
    tab.evaluate("$('texts').value = ' '; $('go').click()")
    assert tab.evaluate("$('status').textContent") == "Give at least one text."


def test_a_file_of_thousands_of_lines_is_searched_with_two_members_side_by_side(page: tuple[chrome.Tab, str]) -> None:
    tab, _ = page
    tab.evaluate(
        """(async () => {
          const rows = Array.from({length: 1200}, (_, i) => `${i},"line ${i}, of many"`);
          const file = new File([["id,text", ...rows, '1200,"Saksa, ""B"" and more"'].join("\\n")], "lines.csv");
          const carrier = new DataTransfer();
          carrier.items.add(file);
          $('file').files = carrier.files;
          $('file').dispatchEvent(new Event('change'));
        })()"""
    )
    tab.wait("$('status').textContent === '1201 texts from lines.csv'")
    tab.evaluate("$('beside').value = 'small'; $('beside').dispatchEvent(new Event('change'))")
    tab.evaluate("$('besidewidth').value = '8'; $('query').value = 'Saksa'; $('go').click()")
    tab.wait("document.querySelectorAll('#otherresults li').length === 20")
    assert tab.evaluate("document.querySelectorAll('#results li').length") == 20
    assert tab.evaluate("$('othername').textContent") == "small, 8"
    assert "ms for 1202 texts" in tab.evaluate("$('status').textContent")
    assert tab.console == []


def test_the_endpoints_own_documents_are_searched_without_a_file(
    open_api, models: dict[str, str], tmp_path: Path, free_port: int
) -> None:
    vectors = {name: Encoder.load(path).encode(TEXTS) for name, path in models.items()}
    write_documents(str(tmp_path / "own"), pa.table({"source": ["a"] * len(TEXTS), "text": TEXTS}), vectors)
    with showing(open_api(documents=str(tmp_path / "own")).app, tmp_path, free_port) as (tab, _):
        assert tab.evaluate("$('count').textContent") == str(len(TEXTS))
        tab.evaluate("$('beside').value = 'small'; $('beside').dispatchEvent(new Event('change'))")
        tab.evaluate("$('query').value = 'Germany'; $('go').click()")
        tab.wait(f"document.querySelectorAll('#results li').length === {len(TEXTS)}")
        assert f"ms for {len(TEXTS)} documents" in tab.evaluate("$('status').textContent")
        tab.evaluate("$('mine').click(); $('texts').value = 'Saksa'; $('go').click()")
        tab.wait("document.querySelectorAll('#results li').length === 1")
        assert tab.console == []
