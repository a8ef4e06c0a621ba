"""Protects what a new kind of source takes: a model in the recipe, and one class with `shards` and `read`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Literal, get_args

import pytest

from polyglossa.corpus.sources.candidates import candidate_table
from polyglossa.corpus.sources.shards import plan_shards, read_shard
from polyglossa.corpus.sources.source import CorpusSource, Reading, Shard, open_corpus_source
from polyglossa.readers.rows import Bad
from polyglossa.recipe.sections.corpus import CorpusConfig
from polyglossa.recipe.sections.sources import ReadSource, Source

KINDS = get_args(get_args(Source)[0])


class DialogueSource(ReadSource):
    """Lines of a dialogue, each answered by the next."""

    kind: Literal["dialogue"] = "dialogue"
    path: str


class Dialogue(CorpusSource[DialogueSource]):
    """A whole kind of source."""

    def shards(self, index: int) -> list[Shard]:
        """Take a dialogue at once."""
        return [Shard(index, size=Path(self.config.data, self.entry.path).stat().st_size)]

    def read(self, shard: Shard) -> Iterator[Reading]:
        """Pair every line with the next; an empty one is bad."""
        lines = Path(self.config.data, self.entry.path).read_text(encoding="utf-8").splitlines()
        said = [line for line in lines if line]
        columns = {"query": said[:-1], "positives": [[answer] for answer in said[1:]]}
        bad = [Bad("empty", "")] * (len(lines) - len(said))
        yield Reading(candidate_table(columns, task="retrieval", source=self.entry.name), bad)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_of_the_recipe_has_its_class(kind: type[Source]) -> None:
    name = get_args(kind.model_fields["kind"].annotation)[0]
    opened = open_corpus_source(kind.model_construct(kind=name), CorpusConfig.model_construct())
    assert isinstance(opened, CorpusSource)


def test_an_added_kind_is_cut_into_shards_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("polyglossa.corpus.sources.dialogue")
    module.SOURCE = Dialogue  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    (tmp_path / "talk.txt").write_text("Hello?\nHello.\n\nHow are you?\n")
    entry = DialogueSource(name="talk", path="talk.txt", language="eng")
    config = CorpusConfig.model_construct(sources=(entry,), data=str(tmp_path))
    (shard,) = plan_shards(config)
    (reading,) = read_shard(shard, config)
    rows = reading.candidates.to_pylist()
    assert [(row["query"], row["positives"]) for row in rows] == [("Hello?", ["Hello."]), ("Hello.", ["How are you?"])]
    assert len(reading.bad) == 1
