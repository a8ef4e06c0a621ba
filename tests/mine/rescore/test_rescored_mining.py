"""A second opinion in a whole mining run: refused texts leave, scores travel, and off it changes nothing."""

from pathlib import Path

import numpy as np
import pyarrow.dataset as pads
import pytest
from sentence_transformers import CrossEncoder

from polyglossa.artifact import Artifact, ArtifactKey, produce
from polyglossa.errors import DataError, EndpointError, UserError
from polyglossa.mine import run as stage
from polyglossa.mine.gathering import parts
from polyglossa.mine.rescore import actors
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.mine import MineConfig
from polyglossa.records import MINED_PAIR, RESCORED_PAIR
from tests.endpoint.fake import Fake, running
from tests.mine.rescore.test_scorers import save_cross_encoder

pytestmark = pytest.mark.usefixtures("ray_local")


def mine(root: Path, corpus: Artifact, config: MineConfig, name: str = "mine") -> Artifact:
    key = ArtifactKey("mine", name, 1, config.model_dump(mode="json"), {"corpus": corpus})
    placement = StagePlacement(workers=1)
    return produce(str(root), key, lambda draft: stage.run(config, {"corpus": corpus}, draft, placement))


def rows_of(artifact: Artifact, schema=RESCORED_PAIR) -> list[dict]:
    rows = pads.dataset(artifact.at("pairs"), format="parquet", schema=schema).to_table().to_pylist()
    return [row for row in rows if row["source"] == "faq"]


def test_what_scores_like_the_positive_is_refused_and_scores_are_those_of_the_texts(
    tmp_path, tiny_corpus, tiny_model, monkeypatch
):
    monkeypatch.setattr(actors, "_LITTLE_BYTES", 0)  # on actors
    corpus, path = tiny_corpus.write(tmp_path), save_cross_encoder(tmp_path / "model")
    base = {"model": tiny_model(), "sources": ("faq",), "top_k": 40, "relative_margin": 1.0}
    wide = mine(tmp_path, corpus, MineConfig(**base, negatives=12), "wide")
    config = MineConfig(**base, negatives=4, rescore={"model": path, "margin": 0.01, "spare": 8})
    made = mine(tmp_path, corpus, config)
    texts = {key: row["text"] for key, row in tiny_corpus.documents.items()}
    model, refused = CrossEncoder(path), 0
    before = {row["query"]: row["negative_ids"] for row in rows_of(wide, MINED_PAIR)}
    for row in rows_of(made):
        query, (positive,) = row["query"], row["positive_ids"]
        own = [positive, *before[query]]
        scores = dict(zip(own, model.predict([(query, texts[key]) for key in own]), strict=True))
        stays = [key for key in before[query] if scores[key] < scores[positive] - 0.01]
        refused += len(before[query]) - len(stays)
        assert row["negative_ids"] == stays[:4]
        np.testing.assert_allclose(
            row["candidate_scores"], [scores[key] for key in (positive, *row["negative_ids"])], atol=1e-5
        )
    said = made.read_json("audit.json")["sources"]["faq"]["rescored"]
    assert 0 < refused == said["refused"] == made.counts["false_negatives"]
    assert set(said["languages"]) == {"eng"}
    shown = said["languages"]["eng"]["texts"]
    assert len(shown) == 5
    assert all(one["refused_score"] >= one["positive_score"] - 0.01 for one in shown)
    page = Path(made.at("report", "mining.html")).read_text()
    assert "Refused as false negatives" in page
    assert shown[0]["refused"][:30] in page
    again = mine(tmp_path, corpus, config.changed(relative_margin=0.99), "again")
    assert again.counts["pairs_kept"] > 0
    assert again.counts["pairs_scored"] < made.counts["pairs_scored"]


def test_sources_mined_one_after_another_are_judged_together_before_anything_is_spent(
    tmp_path, tiny_corpus, tiny_model, monkeypatch
):
    corpus, path, model = tiny_corpus.write(tmp_path), save_cross_encoder(tmp_path / "model"), tiny_model()

    def config(most: int) -> MineConfig:
        rescore = {"model": path, "margin": 0.01, "spare": 4, "max_pairs": most}
        return MineConfig(model=model, top_k=40, relative_margin=1.0, negatives=4, rescore=rescore)

    together = mine(tmp_path / "together", corpus, config(10_000))
    monkeypatch.setattr(parts, "PART_ROWS", 1)
    with pytest.raises(UserError, match=r"max_pairs: [\d,]+ would be needed.*nothing was asked"):
        mine(tmp_path / "dear", corpus, config(together.counts["pairs_scored"] - 1))
    one_by_one = mine(tmp_path / "parts", corpus, config(10_000))
    rows = [pads.dataset(one.at("pairs"), format="parquet").to_table().to_pylist() for one in (together, one_by_one)]
    scores = [[row.pop("candidate_scores") for row in part] for part in rows]
    assert rows[0] == rows[1]
    for whole, piece in zip(*scores, strict=True):  # a batch of other pairs moves the last digit on some processors
        assert piece == pytest.approx(whole, abs=1e-6)
    assert together.read_json("audit.json") == one_by_one.read_json("audit.json")
    figures = ("pairs_scored", "false_negatives", "mined", "texts_embedded")
    assert [together.counts[name] for name in figures] == [one_by_one.counts[name] for name in figures]


def test_without_a_second_opinion_files_are_byte_for_byte_what_they_were(tmp_path, tiny_corpus, tiny_model):
    made = mine(tmp_path, tiny_corpus.write(tmp_path), MineConfig(model=tiny_model(), top_k=30, negatives=3))
    assert pads.dataset(made.at("pairs"), format="parquet").schema.names == MINED_PAIR.names
    assert "rescore" not in made.manifest["config"]
    assert "rescored" not in made.read_json("audit.json")["sources"]["faq"]


def test_a_judge_that_stops_is_one_error_and_is_asked_only_for_the_rest(tmp_path, tiny_corpus, tiny_model):
    corpus, model = tiny_corpus.write(tmp_path), tiny_model()
    fake = Fake(says=lambda _: "5", stops_after=100)

    def config(url: str, **more: object) -> MineConfig:
        judge = {"model": "m", "endpoint": url, "patience_seconds": 0.2, "requests_in_flight": 1}
        return MineConfig(
            model=model, sources=("faq",), top_k=20, negatives=3, relative_margin=1.0,
            rescore={"model": judge, "spare": 0, "margin": 0.0, **more},
        )  # fmt: skip

    with running(fake) as url, pytest.raises(EndpointError, match="/chat/completions: "):
        mine(tmp_path, corpus, config(url))
    assert not list(tmp_path.glob("artifacts/mine/*"))
    fake.asked.clear()
    with running(fake) as url, pytest.raises(UserError, match=r"max_pairs: \d+ would be needed, and 5 are allowed"):
        mine(tmp_path, corpus, config(url, max_pairs=5))
    assert fake.asked == []
    fake.stops_after = None
    with running(fake) as url:
        made = mine(tmp_path, corpus, config(url))
    assert made.counts["pairs_kept"] == 100
    assert made.counts["pairs_scored"] == len(fake.asked)
    assert all(row["negative_ids"] == [] for row in rows_of(made))  # every candidate is graded like its positive


def test_scores_that_are_not_finite_stop_above_a_share_and_cost_rows_below_it(tmp_path, tiny_corpus, tiny_model):
    corpus = tiny_corpus.write(tmp_path)
    bad = tiny_corpus.pairs["faq"][0]["query"]

    def config(url: str, share: float) -> MineConfig:
        judge = {"model": "m", "endpoint": url}
        rescore = {"model": judge, "spare": 0, "max_unscored_share": share}
        return MineConfig(model=tiny_model(), sources=("faq",), top_k=20, negatives=3, rescore=rescore)

    with running(Fake(says=lambda prompt: "who knows" if bad in prompt else "5")) as url:
        with pytest.raises(DataError, match=r"m gave \d of \d+ pairs no finite score; at most a share of 0.001"):
            mine(tmp_path, corpus, config(url, 0.001))
        made = mine(tmp_path, corpus, config(url, 0.1))
    assert made.counts["rejects"] == {"positive_without_score": 1}
    assert made.counts["rows_in"] == made.counts["rows_out"] + 1
