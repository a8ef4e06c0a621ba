"""The stage: an artifact in, an artifact out that every loader reads, the same for any number of workers."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import XLMRobertaConfig, XLMRobertaModel

from polyglossa.artifact import Artifact, ArtifactKey, Draft, produce, write_json
from polyglossa.errors import DataError, UserError
from polyglossa.model.directory import build_model, load_model, save_model_directory
from polyglossa.model.encoder import Encoder
from polyglossa.model.forward import TextModel
from polyglossa.model.tokenizer import train_tokenizer
from polyglossa.prune import run as stage
from polyglossa.prune.calibration import calibration_texts, share_out
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.prune import PruneConfig, PruneStage
from polyglossa.records import DOCUMENT, TOKEN_BUNDLE, text_id

STAGE = PruneStage(hidden=16, mlp=24, layers=2, calibration_rows=70)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """An untrained parent with a tokenizer, as the backbone stage leaves it."""
    tokenizer = train_tokenizer(["a few words of text"], vocabulary=300, max_tokens=32)
    shape = {"hidden": 32, "mlp": 48, "layers": 3, "heads": 4, "kv_heads": 2, "head_dim": 8}
    ids = {"eos": tokenizer.eos_token_id, "padding": tokenizer.pad_token_id}
    backbone = build_model(**shape, vocabulary=len(tokenizer), max_tokens=32, seed=0, **ids)

    def make(draft: Draft) -> None:
        save_model_directory(
            draft.at("model"),
            TextModel.of(backbone, prompts={"query": "Q: "}),
            tokenizer,
            max_tokens=32,
            matryoshka_widths=[8, 16, 32],
        )

    return produce(str(tmp_path_factory.mktemp("run")), ArtifactKey("backbone", "base", 1, {}), make)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Two sources: one of 6 bundles of 20 examples, one of a single bundle of 5."""

    def make(draft: Draft) -> None:
        counts = {"long": [20] * 6, "short": [5]}
        index = [
            {
                "name": name, "task": "retrieval", "in_batch": True, "examples": sum(sizes), "negatives": 0,
                "instructions": {}, "document_instructions": {}, "validation": [], "validation_files": [],
                "bundles": [{"examples": n, "texts": 2 * n, "tokens": 0} for n in sizes],
                "files": [{"path": f"bundles/{name}.parquet", "bundles": len(sizes)}],
            }
            for name, sizes in counts.items()
        ]  # fmt: skip
        draft.write_json({"sources": index, "tokenizer": None}, "index.json")
        for name, sizes in counts.items():
            table = pa.Table.from_pylist([bundle(name, i, n) for i, n in enumerate(sizes)], schema=TOKEN_BUNDLE)
            pq.write_table(table, draft.at("bundles", f"{name}.parquet"), row_group_size=1)

    return produce(str(tmp_path_factory.mktemp("run")), ArtifactKey("pack", "pack", 1, {}), make)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """One document."""

    def make(draft: Draft) -> None:
        row = {"doc_id": text_id("x"), "text": "a few words of text", "language": "eng", "source": "s"}
        pq.write_table(pa.Table.from_pylist([row], schema=DOCUMENT), draft.at("documents", "part-0.parquet"))

    return produce(str(tmp_path_factory.mktemp("run")), ArtifactKey("corpus", "corpus", 1, {}), make)


def bundle(source: str, number: int, examples: int) -> dict[str, object]:
    generator = np.random.default_rng(number)
    tokens = [generator.integers(2, 260, size=generator.integers(2, 12)).tolist() for _ in range(2 * examples)]
    return {
        "source": source,
        "task": "retrieval",
        "bundle": number,
        "tokens": tokens,
        "text_ids": [text_id(str(ids)) for ids in tokens],
        "pair_ids": [text_id(f"{source}/{number}/{row}") for row in range(examples)],
        "query": list(range(examples)),
        "positive": list(range(examples, 2 * examples)),
        "negatives": [[]] * examples,
        "group": list(range(examples)),
        "positive_score": [0.0] * examples,
    }


def prune(tmp_path: Path, model: Artifact, pack: Artifact, config: PruneStage = STAGE, workers: int = 2) -> Artifact:
    placement = StagePlacement(workers=workers, cpus=1)
    inputs = {"model": model, "pack": pack}
    key = ArtifactKey("prune", "small", stage.REVISION, config.model_dump(mode="json"), inputs)
    return produce(str(tmp_path), key, lambda draft: stage.run(config, inputs, draft, placement))


def test_the_stage_leaves_a_model_that_loads_and_a_plan_that_explains_it(
    ray_local: None, tmp_path: Path, model: Artifact, pack: Artifact
) -> None:
    pruned = prune(tmp_path, model, pack)
    encoder = Encoder.load(pruned.at("model"))
    assert encoder.encode(["a few words"]).shape == (1, 16)
    assert encoder.max_tokens == 32
    assert encoder.prompts == {"query": "Q: "}
    assert encoder.backbone.config.matryoshka_dimensions == [8, 16]
    plan = pruned.read_json("plan.json")
    assert plan["kept_layers"] == [0, 1]
    assert len(plan["kept_hidden"]) == 16
    expected = sum(parameter.numel() for parameter in encoder.backbone.parameters())
    assert pruned.counts["parameters"] == expected < pruned.counts["parent_parameters"]
    assert pruned.counts["criterion"] == "l2"
    assert pruned.counts["calibration_texts"] == 140


def test_a_bert_like_encoder_loses_layers_and_mlp_channels(ray_local: None, tmp_path: Path, pack: Artifact) -> None:
    tokenizer = train_tokenizer(["a few words of text"], vocabulary=300, max_tokens=32)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    backbone = XLMRobertaModel(XLMRobertaConfig(vocab_size=300, max_position_embeddings=40, pad_token_id=0, **shape))
    backbone.save_pretrained(tmp_path / "hub")
    backbone = load_model(str(tmp_path / "hub")).backbone

    def make(draft: Draft) -> None:
        folder = draft.at("model")
        save_model_directory(folder, TextModel.of(backbone), tokenizer, max_tokens=32, matryoshka_widths=[32])

    encoder = produce(str(tmp_path), ArtifactKey("backbone", "encoder", 1, {}), make)
    pruned = prune(tmp_path, encoder, pack, PruneStage(hidden=32, mlp=24, layers=2, calibration_rows=70))
    loaded = Encoder.load(pruned.at("model"))
    assert loaded.encode(["a few words"]).shape == (1, 32)
    assert (loaded.backbone.config.num_hidden_layers, loaded.backbone.config.intermediate_size) == (2, 24)
    assert pruned.counts["parameters"] == sum(parameter.numel() for parameter in loaded.backbone.parameters())
    with pytest.raises(UserError, match="keep all 32; cut their mlp and layers instead"):
        prune(tmp_path, encoder, pack, PruneStage(hidden=16, mlp=24, layers=2, calibration_rows=70))


def test_the_number_of_workers_changes_nothing(
    ray_local: None, tmp_path: Path, model: Artifact, pack: Artifact
) -> None:
    one, two = (prune(tmp_path / str(n), model, pack, workers=n) for n in (1, 2))
    assert one.read_json("plan.json") == two.read_json("plan.json")
    weights = [Path(pruned.at("model", "model.safetensors")).read_bytes() for pruned in (one, two)]
    assert weights[0] == weights[1]


def test_a_smaller_vocabulary_goes_with_the_model(
    ray_local: None, tmp_path: Path, model: Artifact, pack: Artifact, corpus: Artifact
) -> None:
    config = PruneStage(**{**STAGE.model_dump(), "vocabulary": {"tokens": 262, "max_growth": 9.0}})
    inputs = {"model": model, "pack": pack, "corpus": corpus}
    key = ArtifactKey("prune", "small", stage.REVISION, config.model_dump(mode="json"), inputs)
    placement = StagePlacement(workers=1, cpus=1)
    pruned = produce(str(tmp_path), key, lambda draft: stage.run(config, inputs, draft, placement))
    encoder = Encoder.load(pruned.at("model"))
    assert len(encoder.tokenizer) == encoder.backbone.config.vocab_size == 262
    assert encoder.tokenize(["a few words"])[0][-1] == encoder.tokenizer.eos_token_id
    assert pruned.counts["tokens_after"] == 262
    report = pruned.read_json("vocabulary.json")
    assert report["languages"]["eng"]["growth"] == pruned.counts["largest_growth"]


def test_a_smaller_vocabulary_without_a_corpus_is_refused(tmp_path: Path, model: Artifact, pack: Artifact) -> None:
    config = PruneStage(**{**STAGE.model_dump(), "vocabulary": {"tokens": 262}})
    with pytest.raises(DataError, match=r"prune.vocabulary: needs the corpus"):
        prune(tmp_path, model, pack, config)


def test_a_guard_that_cannot_hold_is_refused_in_one_line(
    ray_local: None, tmp_path: Path, model: Artifact, pack: Artifact, corpus: Artifact
) -> None:
    config = PruneStage(**{**STAGE.model_dump(), "vocabulary": {"tokens": 262, "max_growth": 0.01}})
    draft, inputs = Draft(str(tmp_path)), {"model": model, "pack": pack, "corpus": corpus}
    with pytest.raises(UserError) as raised:
        stage.run(config, inputs, draft, StagePlacement(workers=1, cpus=1))
    assert str(raised.value).startswith("prune.vocabulary: with 262 tokens 'eng' still grows by")
    assert "\n" not in str(raised.value)


def test_a_target_wider_than_the_parent_is_refused_before_any_work(
    tmp_path: Path, model: Artifact, pack: Artifact
) -> None:
    wide = PruneStage(hidden=64, mlp=24, layers=2)
    with pytest.raises(UserError, match=r"prune.hidden: got 64; allowed is 1 to 32"):
        prune(tmp_path, model, pack, wide)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_the_sample_is_fixed_by_its_seed_and_reaches_every_source(pack: Artifact) -> None:
    first, again, other = (calibration_texts(pack, 60, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert len(first) == 120
    short = bundle("short", 0, 5)["tokens"]
    assert any(text in short for text in first)  # type: ignore[operator]


def test_a_small_corpus_is_used_up_without_repeating_a_row(pack: Artifact) -> None:
    texts = calibration_texts(pack, 10_000, 0)
    assert len(texts) == 2 * 125


def test_rows_come_from_as_many_bundles_as_they_can() -> None:
    assert share_out([20] * 6, 20) == [8, 8, 4]
    assert share_out([20, 2, 20], 30) == [14, 2, 14]
    assert share_out([3, 3], 100) == [3, 3]


def test_an_empty_corpus_is_refused(tmp_path: Path) -> None:
    def make(draft: Draft) -> None:
        write_json(draft.at("index.json"), {"sources": [], "tokenizer": None})

    empty = produce(str(tmp_path), ArtifactKey("pack", "empty", 1, {}), make)
    with pytest.raises(DataError, match="holds no example to calibrate on"):
        calibration_texts(empty, 10, 0)


def test_the_parents_name_does_not_shape_the_artifact() -> None:
    first, second = (PruneConfig.model_validate({"from": name, **STAGE.model_dump()}) for name in ("a@x", "b@y"))
    assert PruneStage.of(first) == PruneStage.of(second) == STAGE
    assert "from" not in json.dumps(STAGE.model_dump())
