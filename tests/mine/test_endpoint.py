"""A miner behind an endpoint chooses the negatives that its vectors give, and is asked each text once."""

from pathlib import Path

import numpy as np
import pyarrow.dataset as pads
import pytest

from endpoint.fake import Fake, running
from polyglossa.artifact import Artifact, ArtifactKey, produce
from polyglossa.errors import EndpointError
from polyglossa.mine import run as stage
from polyglossa.recipe.outside import OutsideModel
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.mine import MineConfig
from polyglossa.records import MINED_PAIR, text_id

PROMPTS = {"query_prompt": "query: ", "document_prompt": "passage: "}


def mine(root: Path, corpus: Artifact, url: str, name: str = "mine") -> Artifact:
    model = OutsideModel(model="m", endpoint=url, patience_seconds=0.2)
    config = MineConfig(
        model=model, sources=("names",), top_k=30, negatives=3, near_copy=None, relative_margin=1.0, **PROMPTS
    )
    key = ArtifactKey("mine", name, 1, config.model_dump(mode="json"), {"corpus": corpus})
    placement = StagePlacement(workers=1)
    return produce(str(root), key, lambda draft: stage.run(config, {"corpus": corpus}, draft, placement))


def ours(fake: Fake) -> list[str]:
    """Texts of the corpus that the endpoint got."""
    texts = [text for body in fake.asked for text in body["input"] if text.startswith(tuple(PROMPTS.values()))]
    return [text for text in texts if "river run" not in text]


@pytest.mark.usefixtures("ray_local")
def test_negatives_are_ranked_by_the_endpoints_vectors_and_no_text_is_asked_twice(tmp_path, tiny_corpus):
    corpus, fake = tiny_corpus.write(tmp_path), Fake()
    with running(fake) as url:
        made = mine(tmp_path, corpus, url)
        asked = ours(fake)
        assert len(asked) == len(set(asked)) > 60
        fake.asked.clear()
        mine(tmp_path, corpus, url, name="again")
        assert not ours(fake)
    rows = [row for row in tiny_corpus.pairs["names"] if row["split"] == "train"]
    pool = sorted({positive for row in rows for positive in row["positive_ids"]})
    texts = {text_id(row["text"]): row["text"] for row in tiny_corpus.documents.values()}
    document_ND = fake.vectors(["passage: " + texts[key] for key in pool], 0)
    table = pads.dataset(made.at("pairs"), format="parquet", schema=MINED_PAIR).to_table().to_pylist()
    mined = {row["query"]: row for row in table if row["source"] == "names"}
    for row in rows[:10]:
        score_N = document_ND @ fake.vectors(["query: " + row["query"]], 0)[0]
        scores = dict(zip(pool, score_N, strict=True))
        found = mined[row["query"]]
        np.testing.assert_allclose(found["negative_scores"], [scores[key] for key in found["negative_ids"]], atol=1e-5)
        assert max(found["negative_scores"], default=0.0) <= scores[row["positive_ids"][0]] + 1e-5


@pytest.mark.usefixtures("ray_local")
def test_an_endpoint_that_is_busy_for_ever_is_one_clear_error(tmp_path, tiny_corpus):
    corpus, fake = tiny_corpus.write(tmp_path), Fake(busy=1 << 30)
    with running(fake) as url, pytest.raises(EndpointError, match=r"429"):
        mine(tmp_path, corpus, url)
    assert not list(tmp_path.glob("artifacts/mine/*"))
