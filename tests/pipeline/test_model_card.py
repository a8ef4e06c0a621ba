"""A trained model's directory says which benchmarks it is zero-shot on: what its corpora were cleaned of, no more."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard

from polyglossa.artifact import Artifact, ArtifactKey, Draft, clear, produce
from polyglossa.evaluate.models.spec import model_of
from polyglossa.evaluate.scoring.outcome import clean_tasks
from polyglossa.evaluate.standalone import model_spec
from polyglossa.pipeline.model_card import describe_model
from polyglossa.provenance import Provenance, provenance
from polyglossa.recipe.sections.evaluate import EvaluateConfig, StsTask

MODEL = {"hidden_size": 32, "matryoshka_dimensions": [8, 16, 32]}


def corpus(root: Path, name: str, *sets: str, heldout: tuple[str, ...] = ()) -> Artifact:
    """A corpus that was cleaned of some sets: three texts of each, and two rows dropped for it."""
    listed = [{"name": one, "path": f"eval/{one}.parquet"} for one in sets]
    config = {"data": "data", "sources": [{"name": "qa"}, {"name": name}], "decontamination": {"sets": listed}}
    removed = {"contaminated_query": 1, "contaminated_block": 1}
    account = {"sets": {one: {"texts": 3} for one in sets}, "removed": dict.fromkeys(sets, removed)}

    def write(draft: Draft) -> None:
        draft.write_json({"decontamination": account}, "account.json")
        for one in heldout:
            draft.write_json({}, "heldout", one, "task.json")

    return produce(str(root), ArtifactKey("corpus", name, 1, config), write)


def made(root: Path, stage: str, config: Mapping[str, Any], parents: Mapping[str, Artifact]) -> Artifact:
    def write(draft: Draft) -> None:
        draft.write_json(MODEL, "model", "config.json")
        describe_model(draft, f"{stage}.base", parents.values())

    return produce(str(root), ArtifactKey(stage, stage, 1, config, parents), write)


def trained(root: Path, *corpora: Artifact, start: Mapping[str, Any] | None = None) -> Artifact:
    """A model that learned from each corpus in turn."""
    model = made(root, "backbone", dict(start or {}), {"corpus": corpora[0]})
    for number, one in enumerate(corpora):
        pack = produce(
            str(root), ArtifactKey("pack", f"pack{number}", 1, {"sources": None}, {"corpus": one}), lambda _: None
        )
        model = made(root, "train", {"turn": number}, {"model": model, "pack": pack})
    return model


def metadata(model: Artifact) -> dict[str, Any]:
    return dict(json.loads(Path(model.at("model", "model_meta.json")).read_text()))


def test_the_directory_names_the_benchmarks_that_it_is_zero_shot_on(tmp_path: Path) -> None:
    model = trained(tmp_path, corpus(tmp_path, "web", "xquad", "tldr", heldout=("cldr",)))
    told = metadata(model)
    assert told["zero_shot"] == list(told["kept_out"]) == ["cldr", "tldr", "xquad"]
    assert told["kept_out"]["xquad"] == {"path": "data/eval/xquad.parquet", "texts": 3, "rows_removed": 2}
    assert told["training_datasets"] == ["qa", "web"]
    card = Path(model.at("model", "README.md"))
    assert "| xquad | yes | 3 | 2 |" in card.read_text()
    assert ModelCard.load(card).data.library_name == "sentence-transformers"


def test_a_benchmark_whose_training_part_was_learned_from_is_clean_but_not_zero_shot(tmp_path: Path) -> None:
    model = trained(tmp_path, corpus(tmp_path, "tldr", "xquad", "tldr"))
    told = metadata(model)
    assert told["zero_shot"] == ["xquad"]
    assert list(told["kept_out"]) == ["tldr", "xquad"]
    assert "| tldr | no" in Path(model.at("model", "README.md")).read_text()
    assert provenance([model]).keeps_out("tldr")


def test_what_one_corpus_behind_a_model_was_not_cleaned_of_is_not_zero_shot(tmp_path: Path) -> None:
    clean, other = corpus(tmp_path, "web", "xquad", "tldr"), corpus(tmp_path, "books", "tldr")
    told = metadata(trained(tmp_path, clean, other, start={"model": "org/base"}))
    assert told["zero_shot"] == ["tldr"]
    assert set(told["training_datasets"]) == {"qa", "books", "web"}
    assert told["adapted_from"] == ["org/base"]
    head = Path(tmp_path).glob("artifacts/train/*/model/README.md")
    assert all(yaml.safe_load(card.read_text().split("---")[1])["base_model"] == ["org/base"] for card in head)


def test_models_from_outside_are_named_with_what_they_did(tmp_path: Path) -> None:
    web = corpus(tmp_path, "web", "xquad")
    pack = produce(str(tmp_path), ArtifactKey("pack", "pack", 1, {"sources": None}, {"corpus": web}), lambda _: None)
    parents: dict[str, Artifact] = {"pack": pack}
    for role, name, stage, config in (
        ("teacher", "distill._outside.base.stage2", "distill", {"outside": {"model": "org/teacher", "endpoint": "x"}}),
        ("guide", "distill._guide.stage2", "distill", {"outside": {"model": "org/guide"}}),
        ("own", "distill.big.stage2", "distill", {"outside": None}),
        ("mine", "mine", "mine", {"model": "org/miner", "rescore": {"model": "org/judge"}}),
        ("mine2", "mine.stage2", "mine", {"model": "base@stage1"}),
    ):
        parents[role] = produce(str(tmp_path), ArtifactKey(stage, name, 1, config, {"pack": pack}), lambda _: None)
    model = made(tmp_path, "train", {}, parents)
    assert metadata(model)["helped_by"] == [
        ["guided", "org/guide"], ["mined", "org/miner"], ["re-scored", "org/judge"], ["taught", "org/teacher"],
    ]  # fmt: skip
    text = Path(model.at("model", "README.md")).read_text()
    assert "Learned from the vectors of: org/teacher." in text
    assert "What these models were trained on is not known here." in text
    again = Provenance.read(model.at("model"))
    assert again is not None
    assert again.helped_by == provenance([model]).helped_by


def test_nothing_is_claimed_where_a_corpus_is_gone_or_nothing_was_checked(tmp_path: Path) -> None:
    web = corpus(tmp_path, "web", "xquad")
    model = trained(tmp_path, web)
    clear(web.uri)
    assert provenance([model]).kept_out == ()
    unchecked = trained(tmp_path / "other", corpus(tmp_path / "other", "web"))
    assert metadata(unchecked)["zero_shot"] == []
    assert "None is known" in Path(unchecked.at("model", "README.md")).read_text()


def test_evaluation_marks_what_was_not_kept_out_wherever_its_directory_goes(tmp_path: Path) -> None:
    model = trained(tmp_path, corpus(tmp_path, "web", "xquad", "flores"))
    same_files = StsTask(kind="sts", name="sib", path="eval/flores.parquet")
    config = EvaluateConfig(heldout=(), local=(same_files,), data="data")
    tasks = ("xquad", "sib", "native")
    assert clean_tasks(model_of(config, model), config, tasks) == {"xquad", "sib"}
    moved = Path(model.at("model")).rename(tmp_path / "copied")
    assert clean_tasks(model_spec(str(moved), config), config, tasks) == {"xquad", "sib"}
    (moved / "model_meta.json").unlink()
    assert clean_tasks(model_spec(str(moved), config), config, tasks) == set()
