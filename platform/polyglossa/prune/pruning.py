"""Measure the parent on calibration texts, plan, cut, write a model directory.

The pass is a handful of stateless Ray tasks over fixed slices of the texts, added up in the order of the slices, so
the number of workers changes neither the sums nor the plan, and a lost worker costs its slices only.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ray
import torch
from transformers import AutoConfig

from polyglossa.artifact import Artifact, Draft, read_json
from polyglossa.errors import DataError
from polyglossa.model.encoder import Encoder
from polyglossa.prune.calibration import calibration_texts
from polyglossa.prune.importance import ActivationSums, measure
from polyglossa.prune.language_texts import Sample, corpus_files, sample_texts
from polyglossa.prune.plan import Sizes, check_target
from polyglossa.prune.stored_sums import measure_once, sums_uri
from polyglossa.prune.student import cut_student, save_student, target_of
from polyglossa.prune.surgery import sizes_of
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.prune import PruneStage
from polyglossa.runtime.console import track
from polyglossa.runtime.ray_tasks import results
from polyglossa.storage import local_folder, writable_folder

SLICE_TEXTS = 64


def prune(config: PruneStage, inputs: Mapping[str, Artifact], draft: Draft, placement: StagePlacement) -> None:
    """Prune a model; arguments and errors are those of the stage's `run`."""
    parent = inputs["model"].at("model")
    sizes = _sizes(parent)
    check_target(sizes, target_of(config, sizes))
    texts = calibration_texts(inputs["pack"], config.calibration_rows, config.seed)
    samples = _sample_languages(config, inputs, placement)
    stored = sums_uri(draft.uri, inputs["model"], inputs["pack"], config.calibration_rows, config.seed)
    sums = measure_once(stored, lambda: _measure_all(parent, texts, placement))
    cut = ray.remote(_cut).options(**placement.ray_options)
    (account,) = results([cut.remote(parent, sums, config, draft.at("model"), placement.threads, *samples)])
    for name, content in account["files"].items():
        draft.write_json(content, name)
    draft.count(
        calibration_texts=len(texts),
        calibration_tokens=sums.tokens,
        criterion=config.criterion,
        depth=config.depth,
        **account["figures"],
    )


def _sample_languages(
    config: PruneStage, inputs: Mapping[str, Artifact], placement: StagePlacement
) -> list["ray.ObjectRef[Sample]"]:
    if config.vocabulary is None:
        return []
    if "corpus" not in inputs:
        raise DataError("prune.vocabulary: needs the corpus, whose texts say which tokens are needed.")
    sample = ray.remote(sample_texts).options(num_cpus=placement.cpus)
    limit = config.vocabulary.texts_per_language
    return [sample.remote(uri, limit, config.seed) for uri in corpus_files(inputs["corpus"])]


def _measure_all(parent: str, texts: Sequence[Sequence[int]], placement: StagePlacement) -> ActivationSums:
    slices = [texts[start : start + SLICE_TEXTS] for start in range(0, len(texts), SLICE_TEXTS)]
    workers = min(placement.workers, len(slices))
    listen = ray.remote(_listen).options(**placement.ray_options, num_returns="streaming")
    streams = [
        listen.remote(parent, slices[worker::workers], placement.threads, placement.torch_device)
        for worker in range(workers)
    ]
    total = ActivationSums()
    with track("prune", total=len(texts), unit="texts") as bar:
        for index, texts_of_slice in enumerate(slices):
            total = total + ray.get(next(streams[index % workers]))
            bar.advance(len(texts_of_slice))
    return total


def _listen(
    parent: str, slices: Sequence[Sequence[Sequence[int]]], threads: int, device: str
) -> Iterator[ActivationSums]:
    """Measure slices on a worker, one result each."""
    model = _load(parent, threads, device).model
    for texts in slices:
        yield measure(model, texts)


def _cut(
    parent_uri: str, sums: ActivationSums, config: PruneStage, target: str, threads: int, *samples: Sample
) -> dict[str, Any]:
    """Plan, cut and write on a worker; return what goes into the artifact's own files and its manifest."""
    parent = _load(parent_uri, threads, "cpu")
    student = cut_student(parent, sums, config, samples)
    with writable_folder(target) as folder:
        save_student(student, parent, folder)
    files: dict[str, Any] = {"plan.json": student.plan.to_json()}
    if student.vocabulary is not None:
        files["vocabulary.json"] = student.vocabulary
    return {"files": files, "figures": student.figures}


def _load(uri: str, threads: int, device: str) -> Encoder:
    torch.set_num_threads(threads)
    with local_folder(uri) as folder:
        return Encoder.load(folder, device=device)


def _sizes(parent: str) -> Sizes:
    try:
        return sizes_of(AutoConfig.for_model(**read_json(f"{parent}/config.json")))
    except FileNotFoundError:
        raise DataError(f"{parent}: holds no model (config.json is missing).") from None
