"""Evaluate any model and keep the outcome: `polyglossa evaluate`, once Ray is there.

A model is a sentence-transformers directory, an artifact that holds one, or the URL of an OpenAI-compatible endpoint.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rich.table import Table

from polyglossa.artifact import MANIFEST, Artifact, ArtifactKey, Draft, clear, exists, open_artifact, produce
from polyglossa.endpoint.patience import route_of
from polyglossa.errors import UserError
from polyglossa.evaluate import run as stage
from polyglossa.evaluate.models.spec import ModelSpec
from polyglossa.evaluate.scoring.result_card import UNCHECKED_MARK, UNCHECKED_MEANING
from polyglossa.evaluate.scoring.retention import kept_by_form
from polyglossa.provenance import Provenance
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.evaluate import EvaluateConfig
from polyglossa.storage import absolute, revision_of


def model_spec(
    model: str,
    config: EvaluateConfig,
    *,
    name: str | None = None,
    instructed: bool = False,
    options: Mapping[str, Any] | None = None,
) -> ModelSpec:
    """Say what is judged.

    Args:
        model: directory, artifact, or base URL of an endpoint (`http://host:8000/v1`).
        config: its `max_tokens` cuts long texts, its `dtype` is what a directory is run in.
        name: how results call it; of an endpoint also the name that it knows.
        instructed: whether queries get instructions although the directory pins no prompt.
        options: of an endpoint (`key_variable`, `timeout_seconds`, `prompts`).

    Raises:
        UserError: there is no such model, or an endpoint without a name, or with a key in its address.
    """
    if "://" in model and model.startswith("http"):
        if name is None:
            raise UserError(f"{model}: give the model's name at the endpoint with --name.")
        route_of(model, "embeddings")
        return ModelSpec(name, "endpoint", endpoint=model, instructed=instructed, options=dict(options or {}))
    if exists(f"{model.rstrip('/')}/{MANIFEST}"):
        return stage.model_of(config, open_artifact(model))
    folder = absolute(model.rstrip("/"))
    if not any(exists(f"{folder}/{file}") for file in ("config.json", "modules.json")):
        raise UserError(f"{model}: no model directory (it holds config.json or modules.json), artifact or http URL.")
    called = name or folder.rpartition("/")[2]
    return ModelSpec.directory(
        config,
        called if "/" in called else f"local/{called}",
        revision_of(folder),
        folder,
        instructed=instructed,
        foreign=True,
        provenance=Provenance.read(folder),
    )


def evaluate_model(
    spec: ModelSpec, config: EvaluateConfig, corpus: Artifact | None, root: str, placement: StagePlacement
) -> Artifact:
    """Judge a model; what an earlier call judged is not judged again.

    Args:
        spec: the model.
        config: which tasks.
        corpus: holds the held-out sets that `config.heldout` names; None where it names none.
        root: storage root, which also keeps vectors and verdicts.
        placement: number of actors, and what each may use.

    Returns:
        The evaluation, an artifact under `<root>/artifacts/evaluate`. That of an endpoint is made anew by each call, as
        nobody knows what is behind it now; verdicts are reused as long as its answers to a panel are the same. One that
        could not judge every task is made anew too: what was judged has its verdict.

    Raises:
        DataError: mteb knows no such task or benchmark.
    """
    shape = {
        "model": [spec.name, spec.revision, spec.endpoint, spec.instructed],
        "evaluate": config.model_dump(mode="json"),
        "input_files": stage.input_fingerprint(config),
    }
    parents = {"corpus": corpus} if corpus is not None else {}
    key = ArtifactKey(
        stage.STAGE, "".join(c if c.isalnum() else "-" for c in spec.name), stage.REVISION, shape, parents
    )

    def make(draft: Draft) -> None:
        stage.run_on(spec, config, corpus, draft, placement)

    if spec.endpoint is not None:
        spec = replace(spec, options={**spec.options, "root": root})
        clear(key.uri(root))
    return produce(root, key, make)


def _notices(summary: Mapping[str, Any]) -> list[str]:
    """List what was noticed of each task's files."""
    return [f"{task}: {notice}" for task, figures in summary["tasks"].items() for notice in figures.get("notices", ())]


def _kept(summary: Mapping[str, Any]) -> list[str]:
    """Say what compressed vectors keep at the full width, where they were scored."""
    found = kept_by_form(summary)
    if not found:
        return []
    full = str(summary["dim"])
    shares = [f"{form} {widths[full]:.1%}" for form, widths in found.items() if full in widths]
    return [f"score kept at width {full}: {', '.join(shares)}"] if shares else []


def summary_table(summary: Mapping[str, Any]) -> Table:
    """Lay an evaluation out for the terminal: a row per task, then what marks mean and what was not judged."""
    mean = "" if summary["mean"] is None else f", mean {summary['mean']:.4f}"
    notes = [f"not judged: {task} ({reason})" for task, reason in summary["failed"].items()]
    notes += _kept(summary)
    notes = [*summary.get("judged_as", {}).get("notices", ()), *_notices(summary), *notes]
    if any(figures.get("contaminated") for figures in summary["tasks"].values()):
        notes.insert(0, f"{UNCHECKED_MARK} {UNCHECKED_MEANING}")
    judged_as = f", judged as {summary['judged_as']['model']}" if "judged_as" in summary else ""
    table = Table(
        title=f"{summary['model']}{judged_as}{mean}",
        title_justify="left",
        caption="\n".join(notes) or None,
        caption_justify="left",
    )
    for heading in ("task", "type", "metric"):
        table.add_column(heading)
    for heading in ("mean", "95 % interval", "languages"):
        table.add_column(heading, justify="right")
    for task, figures in summary["tasks"].items():
        low, high = figures.get("interval") or (None, None)
        around = f"{low:.4f} – {high:.4f}" if low is not None else ""
        mark = f" {UNCHECKED_MARK}" if figures.get("contaminated") else ""
        row = (f"{task}{mark}", figures["type"], figures["metric"], f"{figures['mean']:.4f}", around)
        table.add_row(*row, str(len(figures["by_language"])))
    return table
