"""Held-out retrieval as one figure: the metrics' own definitions, subsets apart, and two models over one index."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from polyglossa.evaluate.scoring.retrieval import heldout_score, read_search
from polyglossa.evaluate.tasks.heldout import HeldoutSet
from polyglossa.model.encoder import Encoder
from polyglossa.model.tokenizer import train_tokenizer
from polyglossa.recipe.sections.evaluate import RetrievalTask

ANGLES = {"north": 0, "up": 10, "east": 90, "right": 80, "south": 180, "down": 170, "west": 270}


class Compass(Encoder):
    """Embeds the last word of a text as a direction; `turned` and `wider` make it another model of the same space."""

    def __init__(self, turned: float = 0.0, width: int = 2) -> None:
        self.tokenizer = train_tokenizer(["north"], vocabulary=300, max_tokens=64)
        self.max_tokens, self.turned, self._width = 64, turned, width

    @property
    def width(self) -> int:
        return self._width

    def states(self, token_ids, *, chunk_tokens=2048):  # type: ignore[no-untyped-def]
        words = [self.tokenizer.decode(ids, skip_special_tokens=True).split()[-1] for ids in token_ids]
        angles = np.radians([ANGLES[word] + self.turned for word in words])
        states = np.stack([np.cos(angles), np.sin(angles), *[np.ones(len(words))] * (self.width - 2)], axis=1)
        return torch.from_numpy(3 * states).float()


def heldout(metric: str) -> HeldoutSet:
    queries = {"query_id": ["1", "2", "3"], "query": ["up", "right", "down"], "positive_doc_ids": [["n"], ["w"], ["s"]]}
    corpus = {"doc_id": ["n", "e", "s", "w"], "text": ["north", "east", "south", "west "]}
    return HeldoutSet("toy", "retrieval", "Find it.", metric, "", pa.table(queries), pa.table(corpus))


def test_hit_rate_counts_first_places_and_ndcg_their_ranks() -> None:
    encoder = Compass()
    # "right" lies nearest to east, then north, south and west.
    assert heldout_score(heldout("accuracy"), encoder, instructed=True) == pytest.approx(2 / 3)
    assert heldout_score(heldout("ndcg_at_10"), encoder, instructed=False) == pytest.approx((2 + 1 / np.log2(5)) / 3)


def test_queries_of_one_model_search_the_documents_of_another() -> None:
    queries, documents = Compass(), Compass(turned=90.0, width=3)
    assert heldout_score(heldout("accuracy"), queries, documents, instructed=False) == pytest.approx(0.0)
    same = Compass(turned=5.0, width=3)
    assert heldout_score(heldout("accuracy"), queries, same, instructed=False) == pytest.approx(2 / 3)


def test_a_search_from_files_is_one_set_a_subset(tmp_path: Path) -> None:
    queries = {"query_id": ["1", "2", "3"], "text": ["up", "right", "unjudged"], "subset": ["a", "b", "b"]}
    corpus = {"doc_id": ["n", "e", "s"], "text": ["north", "east", "south"], "subset": ["a", "b", "b"]}
    qrels = {"query_id": ["1", "2", "3"], "doc_id": ["n", "e", "s"], "score": [1, 2, 0]}
    for name, rows in {"queries": queries, "corpus": corpus, "qrels": qrels}.items():
        pq.write_table(pa.table(rows), tmp_path / f"{name}.parquet")
    sets = read_search(RetrievalTask(kind="retrieval", name="toy", path=str(tmp_path)))
    assert [(one.name, len(one.queries), len(one.corpus)) for one in sets] == [("toy/a", 1, 1), ("toy/b", 1, 2)]
    assert [heldout_score(one, Compass(), instructed=False) for one in sets] == [1.0, 1.0]
