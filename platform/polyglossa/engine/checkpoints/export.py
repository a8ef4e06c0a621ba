"""From a training backend to model directories: the final model with its figures, and late checkpoints as models.

Late models lie beside the checkpoints until the run ends, so that a resumed run finds them; then they move into the
artifact, to be averaged by the merge stage.
"""

import json
import posixpath
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from polyglossa.artifact import clear, open_storage, write_json
from polyglossa.data.pack_index import read_pack_index
from polyglossa.engine.backends.backend import TrainingBackend
from polyglossa.engine.checkpoints import checkpoint
from polyglossa.engine.embedder import TRAINING_AIDS
from polyglossa.engine.learned_prompts import DEFAULT_PROMPT, learned_prompts
from polyglossa.engine.loop import Callback, StepRecord
from polyglossa.engine.train_run import SUMMARY, TrainRun
from polyglossa.model.directory import load_model, load_model_tokenizer, save_model_directory
from polyglossa.model.forward import TextModel
from polyglossa.model.variants.adapt import adapt, restore
from polyglossa.objectives.matryoshka import widths
from polyglossa.runtime.collectives import rank
from polyglossa.storage import copy_folder, local_folder, writable_folder

LATE = "late"
ADAPTER = "adapter"
_DENSE = "dense."


def late_steps(total_steps: int, count: int, every: int, *, at: str = "from_end") -> list[int]:
    """Say after how many updates models are kept, the last one's apart, which a run ends with.

    Args:
        total_steps: updates of the run.
        count: how many.
        every: updates between them.
        at: `from_end` counts back from the last update; `multiples` takes the multiples of `every` among the last
            `count` · `every` updates, as F2LLM-v2's script does: one fewer where the last update is a multiple itself.
    """
    if at == "multiples":
        first = max(0, total_steps - count * every)
        return list(range((first // every + 1) * every, total_steps, every))
    return [done for back in range(count, 0, -1) if (done := total_steps - back * every) > 0]


class LateModels(Callback):
    """Keeps the model of chosen steps as a directory beside the checkpoints. A callback of the loop."""

    def __init__(self, run: TrainRun, backend: TrainingBackend) -> None:
        self._run, self._backend = run, backend
        self._due = set(late_of(run))

    def after_step(self, record: StepRecord) -> None:
        """Write the model when it is time. A collective."""
        done = record.step + 1
        if done in self._due:
            write_model(self._run, self._backend, posixpath.join(self._run.checkpoint_uri, LATE, str(done)))


def late_of(run: TrainRun) -> list[int]:
    """Return the steps whose models a run keeps."""
    late = run.stage.late_models
    return late_steps(run.total_steps, late.count, late.every, at=late.at)


def export(run: TrainRun, backend: TrainingBackend, figures: Mapping[str, Any]) -> None:
    """Write the model directory, the metrics of every step, and last the summary that says it is done. A collective."""
    adapter = posixpath.join(run.output_uri, ADAPTER)
    write_model(run, backend, posixpath.join(run.output_uri, "model"), adapter_uri=adapter)
    if rank() != 0:
        return
    late = late_of(run)
    for done in late:
        _move(posixpath.join(run.checkpoint_uri, LATE, str(done)), posixpath.join(run.output_uri, LATE, str(done)))
    records = checkpoint.read_metrics(run.checkpoint_uri)
    _write_lines(posixpath.join(run.output_uri, "metrics.jsonl"), records)
    kept = {"late_steps": late} if late else {}
    write_json(posixpath.join(run.output_uri, SUMMARY), {**_summary(records), **figures, **kept})


def write_model(run: TrainRun, backend: TrainingBackend, uri: str, *, adapter_uri: str | None = None) -> None:
    """Write the weights as they are now as a model directory. A collective; rank 0 writes.

    Args:
        run: whose model.
        backend: holds the weights.
        uri: of the directory.
        adapter_uri: where low-rank additions are written too, apart from the weights that they are folded into; None
            writes them nowhere else.
    """
    writes = rank() == 0
    # Under ZeRO 3 every rank takes part in gathering each weight, and only the one that writes keeps it.
    weights = {
        name: value.float().cpu() if writes else None
        for name, value in backend.weights()
        if not name.startswith(TRAINING_AIDS)
    }
    if not writes:
        return
    with local_folder(run.model_uri) as source, writable_folder(uri) as folder:
        model = load_model(source)
        adapt(model.backbone, run.stage.adaptation)
        dense = {name: weights.pop(name) for name in list(weights) if name.startswith(_DENSE)}
        model.backbone.load_state_dict(weights)
        model.dense.load_state_dict({name.removeprefix(_DENSE): value for name, value in dense.items()})
        if adapter_uri is not None and run.stage.adaptation.lora is not None:
            from polyglossa.model.variants.lora import save_adapter  # peft is large, and few trainings need it

            with writable_folder(adapter_uri) as beside:
                save_adapter(model.backbone, run.stage.adaptation.lora, beside)
        _save(run, model, source, folder)


def write_checkpoint_model(run: TrainRun, step: int, uri: str) -> None:
    """Write the weights of a checkpoint as a model directory, apart from the training that goes on: no collective.

    Args:
        run: whose checkpoint.
        step: updates made.
        uri: where the directory comes to lie.

    Raises:
        ArtifactError: the checkpoint's parameters are not the model's.
    """
    with local_folder(run.model_uri) as source, writable_folder(uri) as folder:
        model = load_model(source)
        adapt(model.backbone, run.stage.adaptation)
        named = [
            *model.backbone.named_parameters(),
            *((_DENSE + name, one) for name, one in model.dense.named_parameters()),
        ]
        for name, parameter in named:
            if parameter.requires_grad:
                parameter.data.copy_(checkpoint.read_parameter(run.checkpoint_uri, step, name)["weight"])
        _save(run, model, source, folder)


def _save(run: TrainRun, model: TextModel, source: str, folder: str) -> None:
    """Write an adapted model as a stock model directory; all but the weights is the source's."""
    restore(model.backbone, run.stage.adaptation)
    taught = learned_prompts(read_pack_index(run.feed.pack_uri).sources, run.feed.sources)
    if taught:
        model.description = replace(
            model.description, prompts={**model.description.prompts, **taught}, default_prompt=DEFAULT_PROMPT
        )
    full = run.stage.objective.matryoshka == "none"
    declared = getattr(model.backbone.config, "matryoshka_dimensions", (run.width,))
    save_model_directory(
        folder,
        model,
        (tokenizer := load_model_tokenizer(source, model)),
        max_tokens=tokenizer.model_max_length,
        matryoshka_widths=declared if full else widths(run.width),
    )


def _move(source: str, target: str) -> None:
    copy_folder(source, target)
    clear(source)


def _summary(records: list[dict[str, Any]]) -> dict[str, Any]:
    seconds = sum(record["seconds"] for record in records)
    last = records[-max(1, len(records) // 10) :]
    return {
        "steps": len(records),
        "examples": sum(record["examples"] for record in records),
        "tokens": sum(record["tokens"] for record in records),
        "loss": round(sum(record["loss"] for record in last) / max(1, len(last)), 6),
        "step_seconds": round(seconds / max(1, len(records)), 4),
        "data_wait_share": round(sum(record["data_wait"] for record in records) / max(seconds, 1e-9), 4),
    }


def _write_lines(uri: str, records: list[dict[str, Any]]) -> None:
    filesystem, path = open_storage(uri)
    with filesystem.open_output_stream(path) as stream:
        stream.write("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode())
