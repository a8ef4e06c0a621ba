"""The prune stage: measure the parent on calibration texts, plan, cut, write a model directory.

The pass is a handful of stateless Ray tasks over fixed slices of the texts, added up in the order of the slices, so
the number of workers changes neither the sums nor the plan, and a lost worker costs its slices only.

    python jobs/prune.py RECIPE            # as part of a recipe's run
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow.fs as pafs
import ray
import torch
from transformers import AutoConfig

from polyglossa.artifact import Artifact, Draft, open_storage, read_json
from polyglossa.errors import DataError
from polyglossa.model.directory import save_model_directory
from polyglossa.model.encoder import Encoder
from polyglossa.progress import track
from polyglossa.prune.calibration import calibration_texts
from polyglossa.prune.importance import ActivationSums, measure, score
from polyglossa.prune.plan import Sizes, check_target, make_plan
from polyglossa.prune.surgery import count_parameters, prune_model, sizes_of
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.prune import PruneStage

STAGE = "prune"
REVISION = 1
SLICE_TEXTS = 64


def run(config: PruneStage, inputs: Mapping[str, Artifact], draft: Draft, placement: StagePlacement) -> None:
    """Prune `inputs["model"]` as the recipe says, calibrated on `inputs["pack"]`.

    Writes `model/` (a stock model directory) and `plan.json`, which says what of the parent stayed.

    Raises:
        UserError: the target is larger than the parent, or nothing is left of it.
    """
    parent = inputs["model"].at("model")
    check_target(_sizes(parent), _target(config, _sizes(parent)))
    texts = calibration_texts(inputs["pack"], config.calibration_rows, config.seed)
    options = {
        "num_cpus": placement.cpus,
        "num_gpus": placement.gpus,
        "label_selector": dict(placement.labels) or None,
    }
    sums = _measure_all(parent, texts, placement, options)
    cut = ray.remote(_cut).options(**options)
    figures: dict[str, Any] = ray.get(cut.remote(parent, sums, config, draft.at("model"), placement.threads))
    draft.write_json(figures.pop("plan"), "plan.json")
    draft.count(
        calibration_texts=len(texts),
        calibration_tokens=sums.tokens,
        criterion=config.criterion,
        depth=config.depth,
        **figures,
    )


def _measure_all(
    parent: str, texts: Sequence[Sequence[int]], placement: StagePlacement, options: Mapping[str, Any]
) -> ActivationSums:
    slices = [texts[start : start + SLICE_TEXTS] for start in range(0, len(texts), SLICE_TEXTS)]
    workers = min(placement.workers, len(slices))
    listen = ray.remote(_listen).options(**options, num_returns="streaming")
    streams = [listen.remote(parent, slices[worker::workers], placement.threads) for worker in range(workers)]
    total = ActivationSums()
    with track(STAGE, total=len(texts), unit="texts") as bar:
        for index, texts_of_slice in enumerate(slices):
            total = total + ray.get(next(streams[index % workers]))
            bar.advance(len(texts_of_slice))
    return total


def _listen(parent: str, slices: Sequence[Sequence[Sequence[int]]], threads: int) -> Iterator[ActivationSums]:
    """Measure slices on a worker, one result each."""
    torch.set_num_threads(threads)
    with _local(parent) as folder:
        backbone = Encoder.load(folder, device=_device()).backbone
    for texts in slices:
        yield measure(backbone, texts)


def _cut(parent: str, sums: ActivationSums, config: PruneStage, target: str, threads: int) -> dict[str, Any]:
    """Plan and cut on a worker; return the plan and the figures of the manifest."""
    torch.set_num_threads(threads)
    with _local(parent) as folder:
        encoder = Encoder.load(folder)
    sizes = sizes_of(encoder.backbone.config)
    scores = score(encoder.backbone, sums, config.criterion, config.seed)
    plan = make_plan(sizes, _target(config, sizes), scores, config.depth)
    student = prune_model(encoder.backbone, plan)
    trained_widths = getattr(student.config, "matryoshka_dimensions", None) or []
    with _written(target) as folder:
        save_model_directory(
            folder,
            student,
            encoder.tokenizer,
            max_tokens=encoder.max_tokens,
            prompts=encoder.prompts,
            matryoshka_widths=[*(width for width in trained_widths if width < config.hidden), config.hidden],
        )
    return {
        "plan": plan.to_json(),
        "parent_parameters": count_parameters(encoder.backbone.config),
        "parameters": count_parameters(student.config),
    }


def _sizes(parent: str) -> Sizes:
    try:
        return sizes_of(AutoConfig.for_model(**read_json(f"{parent}/config.json")))
    except FileNotFoundError:
        raise DataError(f"{parent}: holds no model (config.json is missing).") from None


def _target(config: PruneStage, parent: Sizes) -> Sizes:
    return Sizes(config.hidden, config.mlp, config.layers, config.kv_heads or parent.kv_heads)


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def _local(uri: str) -> Iterator[str]:
    """Give the folder behind a URI as a local path, fetched where it is remote."""
    filesystem, path = open_storage(uri)
    if isinstance(filesystem, pafs.LocalFileSystem):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        pafs.copy_files(path, folder, source_filesystem=filesystem, destination_filesystem=pafs.LocalFileSystem())
        yield folder


@contextmanager
def _written(uri: str) -> Iterator[str]:
    """Give a local folder to write to; it reaches the URI when the block ends without an error."""
    filesystem, path = open_storage(uri)
    if isinstance(filesystem, pafs.LocalFileSystem):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield folder
        pafs.copy_files(folder, path, source_filesystem=pafs.LocalFileSystem(), destination_filesystem=filesystem)
