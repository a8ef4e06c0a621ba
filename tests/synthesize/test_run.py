"""The stage against a fake endpoint: pairs that the corpus reads, answers paid for once, one error where it stops."""

import logging
from pathlib import Path
from typing import Any

import pyarrow.dataset as pads
import pytest

from polyglossa.artifact import Artifact, ArtifactKey, produce
from polyglossa.corpus import run as corpus
from polyglossa.errors import ArtifactError, EndpointError, RequestRefused, UserError
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.corpus import CorpusConfig
from polyglossa.recipe.sections.sources import SyntheticSource
from polyglossa.synthesize import run as stage
from tests.endpoint.fake import Fake, running
from tests.synthesize.writers import pairs, passages, source, translations, write_lines, writes

pytestmark = pytest.mark.usefixtures("ray_local")


def synthesize(root: Path, config: SyntheticSource, name: str = "written") -> Artifact:
    key = ArtifactKey("synthesize", name, 1, config.model_dump(mode="json"))
    return produce(str(root), key, lambda draft: stage.run(config, {}, draft, StagePlacement()))


def rows_of(artifact: Artifact, place: str = "pairs") -> list[dict[str, Any]]:
    return pads.dataset(artifact.at(place), format="parquet").to_table().to_pylist()


def test_written_pairs_are_a_source_of_the_corpus_like_any_other(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "passages.jsonl", [*passages(40), {"text": "filtered", "language": "swh"}])
    fake = Fake(says=writes)
    with running(fake) as url:
        config = source(url, file)
        made = synthesize(tmp_path, config)
        asked = len(fake.asked)
        again = synthesize(tmp_path, config.changed(max_queries=100), "again")
    assert asked == made.counts["calls"] == 41
    assert len(fake.asked) == asked + 1  # what was refused has no answer to keep
    assert rows_of(again) == rows_of(made)
    assert made.counts["pairs"] == 40
    assert made.counts["rejects"] == {"refused_by_writer": 1}
    assert {row["query"] for row in rows_of(made)} >= {"What does 0 tell?", "What does 39 tell?"}
    corpus_config = CorpusConfig(sources=(config,))
    key = ArtifactKey("corpus", "corpus", 1, {}, {"synthetic:written": made})
    inputs = {"synthetic:written": made}
    read = produce(str(tmp_path), key, lambda draft: corpus.run(corpus_config, inputs, draft, StagePlacement()))
    read_rows = pads.dataset(read.at("pairs", "written"), format="parquet").to_table().to_pylist()
    assert len(read_rows) == 40
    assert {row["source"] for row in read_rows} == {"written"}
    assert {row["language"] for row in read_rows} == {"swh"}
    assert len({row["group"] for row in read_rows}) == 40
    with pytest.raises(ArtifactError, match="its pairs are not written"):
        corpus.run(corpus_config, {}, None, StagePlacement())  # type: ignore[arg-type]


@pytest.mark.parametrize("judge", ["writer", "encoder"])
def test_translations_that_do_not_come_back_are_dropped_with_their_reason(tmp_path: Path, judge: str) -> None:
    file = write_lines(tmp_path / "pairs.jsonl", pairs(6))

    def says(prompt: str) -> str:
        return "something else" if "into English" in prompt and "cloud" in prompt else writes(prompt)

    with running(Fake(says=says)) as url:
        encoder = {"model": {"model": "m", "endpoint": url}} if judge == "encoder" else {}
        make = translations(back_translation={"language": "English", "least": 0.5, **encoder})
        made = synthesize(tmp_path, source(url, file, make=make, language="eng"))
    assert made.counts["pairs"] == 10
    assert made.counts["rejects"] == {"unlike_after_back_translation": 2}
    assert [row["likeness"] for row in rows_of(made)] == pytest.approx([1.0] * 10)
    assert {row["language"] for row in rows_of(made)} == {"swh", "amh"}
    assert made.read_json("languages.json") == {"swh": 5, "amh": 5}


def test_an_endpoint_that_stops_is_one_error_and_what_it_answered_is_not_asked_again(tmp_path: Path) -> None:
    file, fake = write_lines(tmp_path / "passages.jsonl", passages(100)), Fake(says=writes, stops_after=70)
    with (
        running(fake) as url,
        pytest.raises(EndpointError, match=r"/chat/completions: .*run the same command") as error,
    ):
        synthesize(tmp_path, source(url, file, writer={"requests_in_flight": 1}))
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("artifacts/synthesize/*"))
    fake.asked.clear()
    fake.stops_after = None
    with running(fake) as url:
        made = synthesize(tmp_path, source(url, file))
    assert len(fake.asked) == 30
    assert (made.counts["answers_kept"], made.counts["pairs"]) == (70, 100)


def test_a_key_is_read_by_name_and_stands_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("WRITER_KEY", "sk-wrong-3")
    file, fake = write_lines(tmp_path / "passages.jsonl", passages(3)), Fake(says=writes, key="sk-secret-3")
    with running(fake) as url, pytest.raises(RequestRefused, match="variable WRITER_KEY") as error:
        synthesize(tmp_path, source(url, file, writer={"key_variable": "WRITER_KEY"}))
    assert error.value.exit_code == 2
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"sk-" not in kept
    assert "sk-" not in caplog.text + str(error.value)


def test_nothing_is_asked_above_the_cap(tmp_path: Path) -> None:
    file, fake = write_lines(tmp_path / "passages.jsonl", passages(20)), Fake(says=writes)
    with running(fake) as url, pytest.raises(UserError, match="max_calls: 20 would be needed, and 19 are allowed"):
        synthesize(tmp_path, source(url, file, max_calls=19))
    assert fake.asked == []
