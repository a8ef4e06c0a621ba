"""The stage keeps an average only where it is better than each model, says which, and writes a model that loads."""

from functools import partial
from pathlib import Path

import pytest
from pydantic import ValidationError

from merge.conftest import write_model
from polyglossa.artifact import Artifact, ArtifactKey, Draft, produce
from polyglossa.errors import DataError, UserError
from polyglossa.evaluate.run import model_of
from polyglossa.merge import run as stage
from polyglossa.merge.validation import validation_score
from polyglossa.model.encoder import Encoder
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.evaluate import EvaluateConfig
from polyglossa.recipe.sections.merge import MergeConfig


def merge(tmp_path: Path, models: list[Artifact], pack: Artifact, **config: object) -> Artifact:
    settings = MergeConfig.model_validate(config)
    inputs = {**{f"model:{index}": model for index, model in enumerate(models)}, "pack": pack}
    key = ArtifactKey("merge", "soup", stage.REVISION, settings.model_dump(mode="json"), inputs)
    placement = StagePlacement(workers=1, cpus=1)
    return produce(str(tmp_path), key, lambda draft: stage.run(settings, inputs, draft, placement))


@pytest.mark.parametrize("method", ["linear", "slerp", "greedy_soup"])
def test_the_result_is_never_worse_than_the_best_model(
    ray_local: None, tmp_path: Path, models: list[Artifact], pack: Artifact, method: str
) -> None:
    made = merge(tmp_path, models, pack, method=method)
    report = made.read_json("merge.json")
    encoder = Encoder.load(made.at("model"))
    assert validation_score(encoder, pack.uri, 2000) == pytest.approx(report["score"], abs=1e-6)
    assert report["score"] >= max(report["scores"])
    assert report["merged"] == (len(report["kept"]) > 1) == made.counts["merged"]
    for model, score in zip(models, report["scores"], strict=True):
        assert validation_score(Encoder.load(model.at("model")), pack.uri, 2000) == pytest.approx(score, abs=1e-6)
    if not report["merged"]:
        best = Encoder.load(models[report["kept"][0]].at("model"))
        assert (encoder.encode(["red"]) == best.encode(["red"])).all()


def test_a_share_too_few_is_refused(ray_local: None, tmp_path: Path, models: list[Artifact], pack: Artifact) -> None:
    with pytest.raises(UserError, match=r"merge.weights: got 2 for 3 models"):
        merge(tmp_path, models, pack, weights=(0.5, 0.5))


def test_one_model_is_refused(tmp_path: Path, models: list[Artifact], pack: Artifact) -> None:
    with pytest.raises(UserError, match="merge: got 1 model; give two or more"):
        merge(tmp_path, models[:1], pack)


def test_a_pack_without_validation_rows_is_refused(folders: list[str], tmp_path: Path) -> None:
    key = ArtifactKey("pack", "empty", 1, {})
    empty = produce(
        str(tmp_path), key, lambda draft: draft.write_json({"sources": [], "tokenizer": None}, "index.json")
    )
    with pytest.raises(DataError, match=r"has no validation row to judge by. Set corpus.validation_share above 0"):
        validation_score(Encoder.load(folders[0]), empty.uri, 10)


def test_a_perfect_encoder_scores_one(pack: Artifact, folders: list[str]) -> None:
    class Same(Encoder):
        """Embeds every text by its word alone, so that a query meets its positive."""

        def states(self, token_ids, *, chunk_tokens=2048):  # type: ignore[no-untyped-def]
            words = [self.tokenizer.decode(ids, skip_special_tokens=True).split()[-1] for ids in token_ids]
            return super().states(self.tokenize(words), chunk_tokens=chunk_tokens)

    plain = Encoder.load(folders[0])
    same = Same(plain.model, plain.tokenizer, max_tokens=plain.max_tokens)
    assert validation_score(same, pack.uri, 2000) == 1.0
    assert validation_score(plain, pack.uri, 2000) < 1.0


@pytest.mark.parametrize("weights", [[-1.0, 2.0], [0.0, 0.0]])
def test_weights_that_are_no_shares_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValidationError, match="are no shares"):
        MergeConfig(weights=tuple(weights))


def test_a_greedy_soup_chooses_its_own_weights() -> None:
    with pytest.raises(ValidationError, match="greedy_soup chooses its own"):
        MergeConfig(method="greedy_soup", weights=(1.0, 1.0))


def test_an_average_is_judged_as_its_models_are(ray_local: None, tmp_path: Path, pack: Artifact) -> None:
    def write(draft: Draft, change: int) -> None:
        write_model(Path(draft.at("model")), change)

    models = []
    for change in (1, 2):
        config = {"stage": {"instructions": True}, "change": change}
        key = ArtifactKey("train", f"run{change}", 1, config)
        models.append(produce(str(tmp_path), key, partial(write, change=change)))
    merged = merge(tmp_path, models, pack)
    assert model_of(EvaluateConfig(), merged).instructed
    assert merged.read_json("merge.json")["score_reloaded"] == pytest.approx(merged.counts["score"], abs=1e-6)
