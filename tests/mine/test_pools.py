"""Which rows are mined where not all are: those that training reads."""

import pyarrow as pa
import pytest

from polyglossa.mine.pools import Rows, rows_to_mine, sort_documents
from polyglossa.pack.examples import shuffle_examples
from polyglossa.recipe.sections.mine import MineConfig
from polyglossa.records import DOCUMENT, PAIR


@pytest.mark.parametrize("seed", [0, 7])
def test_what_a_capped_stage_of_the_same_seed_reads_has_been_mined(tiny_corpus, seed: int) -> None:
    for number in range(30):
        tiny_corpus.pair("several", f"query {number}", [f"answer {number}", f"other answer {number}"])
    pairs = pa.Table.from_pylist(tiny_corpus.pairs["several"], schema=PAIR)
    documents = sort_documents(pa.Table.from_pylist(list(tiny_corpus.documents.values()), schema=DOCUMENT))
    config = MineConfig(model="any", max_queries=20, seed=seed)
    mined = rows_to_mine(Rows.read({"several": pairs}, documents), config, ["several"])
    ids = set(pairs["pair_id"].take(mined["several"]).to_pylist())
    read = shuffle_examples(pairs, source="several", negatives=True, instructions=False, seed=seed).slice(0, 20)
    read_ids = {bytes(one).ljust(16, b"\0") for one in read.pair_ids}
    assert len(ids) == 20
    assert 10 <= len(read_ids) < 20
    assert read_ids <= ids
