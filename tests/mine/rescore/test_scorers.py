"""Two scorers, one slot: a cross-encoder gives sentence-transformers' scores, a judge its grades, or one error."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from sentence_transformers import CrossEncoder
from transformers import BertConfig, BertForSequenceClassification, BertModel

from model.family_models import word_tokenizer
from polyglossa.answer_store import AnswerStore
from polyglossa.endpoint.chat import read_grade
from polyglossa.errors import DataError, EndpointError, UserError
from polyglossa.mine.rescore.actors import score_file
from polyglossa.mine.rescore.candidates import Pairs
from polyglossa.mine.rescore.pending import Pending
from polyglossa.mine.rescore.scorer import open_scorer
from polyglossa.recipe.sections.outside.rescore import RescoreConfig
from polyglossa.records import row_id
from tests.endpoint.fake import Fake, running

QUERIES = ["house tree", "moon", "river cloud", "fish"]
TEXTS = ["house tree moon", "bird", "stone " * 200, "fish fish"]


def save_cross_encoder(path: Path, labels: int = 1, *, head: bool = True, seed: int = 3) -> str:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=17, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=64, num_labels=labels, pad_token_id=0,
    )  # fmt: skip
    model = (BertForSequenceClassification if head else BertModel)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.4)
    model.save_pretrained(path)
    tokenizer = word_tokenizer(before="<s>", behind="</s>")
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(path)
    return str(path)


def opened(**settings: object):  # type: ignore[no-untyped-def]
    return open_scorer(RescoreConfig(**settings), dtype="float32", device="cpu")  # type: ignore[arg-type]


def test_a_cross_encoder_gives_the_scores_of_sentence_transformers_and_batch_makes_no_difference(
    tmp_path: Path,
) -> None:
    path = save_cross_encoder(tmp_path / "model")
    theirs = CrossEncoder(path).predict(list(zip(QUERIES, TEXTS, strict=True)))
    ours = dict(opened(model=path).score(QUERIES, TEXTS))
    np.testing.assert_allclose([ours[place] for place in range(4)], theirs, atol=1e-6)
    alone = [dict(opened(model=path).score([q], [t]))[0] for q, t in zip(QUERIES, TEXTS, strict=True)]
    np.testing.assert_allclose(alone, theirs, atol=1e-5)


def test_weights_length_and_activation_name_a_cross_encoder_and_its_place_does_not(tmp_path: Path) -> None:
    path = save_cross_encoder(tmp_path / "a")
    same, other = save_cross_encoder(tmp_path / "b"), save_cross_encoder(tmp_path / "c", seed=4)
    first = opened(model=path).fingerprint
    assert opened(model=same).fingerprint == first
    assert first not in (opened(model=other).fingerprint, opened(model=path, max_tokens=20).fingerprint)
    config = json.loads((tmp_path / "b/config.json").read_text())
    config["sentence_transformers"] = {"activation_fn": "torch.nn.modules.linear.Identity"}
    (tmp_path / "b/config.json").write_text(json.dumps(config))
    assert opened(model=same).fingerprint != first


def test_several_labels_no_head_and_nothing_there_are_one_error_each(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gives 3 numbers a pair"):
        opened(model=save_cross_encoder(tmp_path / "three", labels=3))
    with pytest.raises(DataError, match=r"no head of its own \(BertModel\)"):
        opened(model=save_cross_encoder(tmp_path / "bare", head=False))
    embeds = save_cross_encoder(tmp_path / "embeds")
    (tmp_path / "embeds/config_sentence_transformers.json").write_text('{"model_type": "SentenceTransformer"}')
    with pytest.raises(DataError, match="is an embedding model"):
        opened(model=embeds)
    with pytest.raises(DataError, match="cannot be loaded as a cross-encoder"):
        opened(model=str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("said", "score"),
    [("7", 0.7), ("10", 1.0), ("0", 0.0), ("Score: 8.", 0.8), ("7/10", 0.7), ("7,5", 0.75), ("3.5", 0.35)],
)
def test_grades_are_read(said: str, score: float) -> None:
    assert read_grade(said) == pytest.approx(score)


@pytest.mark.parametrize("said", ["", "high", "11", "-3", "100%", "8th", "NaN"])
def test_what_is_no_grade_is_no_score(said: str) -> None:
    assert np.isnan(read_grade(said))


def grade(prompt: str) -> str:
    """Grade a pair by the words that query and document share."""
    query, document = (prompt.partition(f"{part}: ")[2].partition("\n")[0].split() for part in ("Query", "Document"))
    return str(min(10, 5 * len(set(query) & set(document))))


def judge(url: str, **settings: object) -> dict[str, object]:
    return {"model": {"model": "m", "endpoint": url, "patience_seconds": 0.2}, **settings}


def test_a_judge_is_asked_about_each_pair_and_refused_pairs_have_no_score() -> None:
    fake = Fake(says=grade)
    with running(fake) as url:
        scores = dict(opened(**judge(url)).score([*QUERIES, "filtered"], [*TEXTS, "text"]))
    assert [scores[place] for place in range(4)] == [1.0, 0.0, 0.0, 0.5]
    assert np.isnan(scores[4])
    assert {(body["temperature"], body["max_tokens"]) for body in fake.asked} == {(0.0, 16)}


def test_a_judge_that_grades_nothing_is_one_error() -> None:
    with running(Fake(says=lambda _: "I cannot say.")) as url, pytest.raises(
        EndpointError, match=r"none of 8 pairs a number from 0 to 10 \(it says 'I cannot say.'\)"
    ):  # fmt: skip
        list(opened(**judge(url)).score(QUERIES * 2, TEXTS * 2))


def test_prompt_and_model_name_a_judge_and_its_address_does_not() -> None:
    first = opened(**judge("http://a/v1")).fingerprint
    assert opened(**judge("http://b/v1")).fingerprint == first
    assert opened(**judge("http://a/v1", prompt="{query}? {document}")).fingerprint != first


def pairs(count: int) -> Pairs:
    texts = [f"text {number}" for number in range(count)]
    keys = pa.array([row_id("query", text) for text in texts], pa.binary(16))
    table = pa.table({"key": keys, "query": ["query"] * count, "document": texts})
    return Pairs(table, np.array([0, count]), np.array([1]))


def test_scores_that_came_before_an_endpoint_stopped_are_kept_and_not_asked_again(tmp_path: Path) -> None:
    fake = Fake(says=lambda _: "5", stops_after=150)

    def score(url: str) -> int:
        config = RescoreConfig(**judge(url))  # type: ignore[arg-type]
        scorer = open_scorer(config, dtype="float32", device="cpu")
        store = AnswerStore(str(tmp_path), scorer.fingerprint, pa.float32())
        pending = Pending(str(tmp_path / "pairs"), config, store)
        pending.add(pairs(200))
        for uri in pending.uris:
            score_file(uri, scorer, store)
        return pending.kept

    with running(fake) as url, pytest.raises(EndpointError, match="/chat/completions: "):
        score(url)
    answered, fake.stops_after = 150, None
    fake.asked.clear()
    with running(fake) as url:
        assert score(url) == answered
        assert len(fake.asked) == 200 - answered
        assert score(url) == 200


def test_costs_are_known_before_anything_is_asked_and_capped(tmp_path: Path) -> None:
    def pending(**settings: object) -> Pending:
        config = RescoreConfig(**judge("http://a/v1", **settings))  # type: ignore[arg-type]
        found = Pending(str(tmp_path / "pairs"), config, AnswerStore(str(tmp_path), "f", pa.float32()))
        found.add(pairs(20))
        found.add(pairs(20))
        return found

    assert pending().describe().startswith("mine: m scores 40 calls, about ")
    pending(max_pairs=40).check_caps()
    with pytest.raises(UserError, match=r"mine.rescore.max_pairs: 40 would be needed, and 39 are allowed; nothing was"):
        pending(max_pairs=39).check_caps()
    with pytest.raises(UserError, match=r"mine.rescore.max_scored_tokens: [\d,]+ would be needed, and 100 are"):
        pending(max_scored_tokens=100).check_caps()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "base@stage1"}, "embeds texts one by one"),
        ({"model": "c", "prompt": "{query} {document}"}, "prompt: is for a judge"),
        (judge("http://a/v1", prompt="{query}"), r"prompt: has no place for the document; write \{document\}"),
        (judge("http://a/v1", max_tokens=100), "an endpoint cuts texts itself"),
        ({"model": {"model": "m", "endpoint": "http://a/v1", "texts_per_request": 4}}, "one pair a request"),
        ({"model": "c", "margin": -0.1}, "greater than or equal to 0"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RescoreConfig(**settings)  # type: ignore[arg-type]
