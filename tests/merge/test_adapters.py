"""Adapters for tasks: trained apart from one model, kept beside its weights, and each embeds as its own training's."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from polyglossa.artifact import Artifact, ArtifactKey, Draft, produce
from polyglossa.data.prefetch import PrefetchedBatches
from polyglossa.data.stream import FeedSpec, local_batches
from polyglossa.engine.stage_spec import StageSpec
from polyglossa.engine.train_run import Compute, TrainRun
from polyglossa.engine.trainer import train
from polyglossa.engines.choose import open_engine
from polyglossa.engines.spec import EngineSpec
from polyglossa.errors import ArtifactError, DataError, UserError
from polyglossa.export.write import export_model
from polyglossa.merge.adapters import run
from polyglossa.model.adapter_files import adapter_folder, adapter_tasks
from polyglossa.model.encoder import Encoder
from polyglossa.recipe import StagePlacement
from polyglossa.recipe.sections.members import AdaptersConfig
from train.toys import make_model, make_pack, stage

TEXTS = ["aa bb", "b", "abc cba abc", "a much longer text than the others are"]
STEPS = 4


def trained(root: Path, model: Artifact, pack: Artifact, task: str) -> Artifact:
    """Train an adapter in this process."""

    def write(draft: Draft) -> None:
        lora = {"rank": 4, "alpha": 8.0, "modules": ("q_proj", "v_proj", "up_proj")}
        settings = stage(steps=STEPS, lora=lora, learning_rate=0.05, seed=len(task))
        run = TrainRun(
            name=task, model_uri=model.at("model"), output_uri=draft.uri, checkpoint_uri=str(root / f"checks-{task}"),
            stage=StageSpec.of(settings), feed=FeedSpec.of_stage(settings, pack.uri), total_steps=STEPS, width=32,
        )  # fmt: skip

        def opened(start: int) -> PrefetchedBatches:
            return PrefetchedBatches(local_batches(run.feed, rank=0, world=1, start=start, stop=None))

        compute = Compute(zero=None, resident_tokens=128, checkpoint_steps=STEPS)
        train(run, compute, opened, lambda done, note: None, print)

    return produce(str(root), ArtifactKey("train", task, 1, {"task": task}), write)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """A model, a training for each of two tasks, and the model with both adapters."""
    root = tmp_path_factory.mktemp("adapters")
    model, pack = make_model(str(root)), make_pack(str(root))
    parts = {task: trained(root, model, pack, task) for task in ("sts", "retrieval")}
    inputs = {"model": model, **{f"adapter:{task}": one for task, one in parts.items()}}
    config = AdaptersConfig(tasks=tuple(sorted(parts)))
    key = ArtifactKey("adapters", "tasks", 1, {}, inputs)
    return {"model": model, **parts, "tasks": produce(str(root), key, partial(_write, config, inputs))}


def _write(config: AdaptersConfig, inputs: dict[str, Artifact], draft: Draft) -> None:
    run(config, inputs, draft, StagePlacement())


def test_each_adapter_embeds_as_the_model_that_its_training_ended_with(made: dict[str, Artifact]) -> None:
    path = made["tasks"].at("model")
    assert adapter_tasks(path) == ("retrieval", "sts")
    encoder = Encoder.load(path)
    plain = encoder.encode(TEXTS)
    np.testing.assert_array_equal(plain, Encoder.load(made["model"].at("model")).encode(TEXTS))
    for task in ("retrieval", "sts"):
        found = encoder.with_adapter(adapter_folder(path, task)).encode(TEXTS)
        np.testing.assert_allclose(found, Encoder.load(made[task].at("model")).encode(TEXTS), atol=2e-6)
        assert np.abs(found - plain).max() > 0.01
    np.testing.assert_array_equal(encoder.encode(TEXTS), plain)


def test_the_weights_are_held_once(made: dict[str, Artifact]) -> None:
    path = made["tasks"].at("model")
    encoder = Encoder.load(path)
    second = encoder.with_adapter(adapter_folder(path, "sts"))
    own = {one.data_ptr() for one in encoder.backbone.parameters()}
    added = [one for name, one in second.backbone.named_parameters() if one.data_ptr() not in own]
    assert sum(one.numel() for one in added) < 0.25 * sum(one.numel() for one in encoder.backbone.parameters())
    assert second.fingerprint != encoder.fingerprint


def test_sentence_transformers_loads_the_directory_and_puts_an_adapter_on(made: dict[str, Artifact]) -> None:
    path = made["tasks"].at("model")
    theirs = SentenceTransformer(path, device="cpu")
    encoder = Encoder.load(path)
    np.testing.assert_allclose(theirs.encode(TEXTS, normalize_embeddings=True), encoder.encode(TEXTS), atol=2e-6)
    theirs.load_adapter(adapter_folder(path, "sts"))
    found = theirs.encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(found, encoder.with_adapter(adapter_folder(path, "sts")).encode(TEXTS), atol=2e-6)


def test_an_engine_computes_each_task_and_those_that_cannot_say_so(made: dict[str, Artifact]) -> None:
    path = made["tasks"].at("model")
    engine = open_engine(path, EngineSpec())
    ids = Encoder.load(path).tokenize(TEXTS)
    assert np.abs(engine.states(ids, "sts") - engine.states(ids)).max() > 0.01
    assert np.abs(engine.states(ids, "sts") - engine.states(ids, "retrieval")).max() > 0.01
    for spec in (EngineSpec("onnx"), EngineSpec(dtype="int8")):
        with pytest.raises(UserError, match=r"computes no adapters, and the model has some \(retrieval, sts\)"):
            open_engine(path, spec)


def test_a_folder_is_exported_with_its_adapters_and_other_formats_are_refused(
    made: dict[str, Artifact], tmp_path: Path
) -> None:
    path, out = made["tasks"].at("model"), str(tmp_path / "out")
    export_model(path, "folder", out)
    assert adapter_tasks(out) == ("retrieval", "sts")
    found = Encoder.load(out).with_adapter(adapter_folder(out, "sts")).encode(TEXTS)
    np.testing.assert_array_equal(found, Encoder.load(path).with_adapter(adapter_folder(path, "sts")).encode(TEXTS))
    with pytest.raises(UserError, match="onnx holds no adapters"):
        export_model(path, "onnx", str(tmp_path / "onnx"))


def test_an_adapter_of_another_model_or_none_is_refused(made: dict[str, Artifact], tmp_path: Path) -> None:
    other = Encoder.load(make_model(str(tmp_path), hidden=48).at("model"))
    with pytest.raises(DataError, match="no adapter of this model"):
        other.with_adapter(adapter_folder(made["tasks"].at("model"), "sts"))
    with pytest.raises(DataError, match="no adapter in peft's form"):
        other.with_adapter(str(tmp_path))


def test_a_training_that_kept_no_adapter_is_named(made: dict[str, Artifact], tmp_path: Path) -> None:
    inputs = {"model": made["model"], "adapter:sts": made["model"]}
    with pytest.raises(ArtifactError, match="no adapter is here"):
        run(AdaptersConfig(tasks=("sts",)), inputs, Draft(str(tmp_path / "out")), StagePlacement())
