"""A model to judge, as plain values: it travels to workers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from polyglossa.artifact import MANIFEST, Artifact, read_json
from polyglossa.provenance import Provenance, provenance
from polyglossa.recipe.sections.evaluate import EvaluateConfig


@dataclass(frozen=True)
class Conditions:
    """How mteb runs one model, as plain values: they travel to workers."""

    name: str
    """The model, as mteb calls it."""
    revision: str | None = None
    """Of mteb's metadata; None where mteb does not know the model."""
    max_tokens: int | None = None
    """Longest text (tokens); None leaves the model's own limit."""
    dtype: str | None = None
    """Precision; None leaves it to the device."""
    ends_texts: bool = False
    """Whether every text ends with the end token."""
    instructs: bool = False
    """Whether its prompts are instructions."""
    notices: tuple[str, ...] = ()
    """What differs from mteb's metadata, and what is used instead."""

    def plain(self) -> dict[str, Any]:
        """As JSON values, without the notices."""
        return {"model": self.name, "revision": self.revision, "max_tokens": self.max_tokens, "dtype": self.dtype}


@dataclass(frozen=True)
class ModelSpec:
    """A directory or an endpoint, and how results call it."""

    name: str
    """How results call it, `owner/model`."""
    revision: str
    path: str | None = None
    """Model directory, on any storage."""
    endpoint: str | None = None
    """Base URL of an OpenAI-compatible endpoint (`http://host:8000/v1`) that serves `name`'s last part."""
    instructed: bool = False
    """Whether its training gave queries instructions; pinned prompts say so too."""
    max_tokens: int | None = None
    dtype: str | None = None
    """Precision that a directory is run in; None: nothing was decided, float32."""
    device: str = "cpu"
    """Torch device that a directory is run on, as the placement has it; a GPU in sight may be reserved by others."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of an endpoint: `prompts`, and of `polyglossa.endpoint.EndpointClient`. Its key is named, never held."""
    foreign: bool = False
    """Whether no stage here made it: it is then held to sentence-transformers before anything is scored."""
    provenance: Provenance | None = None
    """What it learned from, and what it is zero-shot on, where that is known."""
    conditions: Conditions | None = None
    """How mteb runs the model that it is judged as; None judges it in its own way."""

    @classmethod
    def directory(
        cls,
        config: EvaluateConfig,
        name: str,
        revision: str,
        path: str,
        *,
        instructed: bool,
        foreign: bool = False,
        provenance: Provenance | None = None,
    ) -> "ModelSpec":
        """Say that a model directory is run as `evaluate` of a recipe wants it: its longest text, its precision."""
        return cls(
            name, revision, path=path, instructed=instructed, max_tokens=config.max_tokens, dtype=config.dtype,
            foreign=foreign, provenance=provenance,
        )  # fmt: skip

    def judged_under(self, conditions: Conditions) -> "ModelSpec":
        """Take over how mteb runs a model: precision, longest text, and that it reads instructions."""
        return replace(
            self,
            conditions=conditions,
            dtype=conditions.dtype or self.dtype,
            instructed=self.instructed or conditions.instructs,
        )


def model_of(config: EvaluateConfig, model: Artifact) -> ModelSpec:
    """Say how a model artifact is judged: with instructions if its training gave queries theirs."""
    return ModelSpec.directory(
        config,
        f"polyglossa/{model.manifest['name']}",
        model.hash,
        model.at("model"),
        instructed=_was_instructed(model.manifest),
        provenance=provenance([model]),
    )


def _was_instructed(manifest: Mapping[str, Any]) -> bool:
    """Whether a model's training gave queries their instructions; an average's models all learned alike."""
    if manifest["stage"] == "merge":
        return _was_instructed(read_json(f"{manifest['parents']['model:0']['uri']}/{MANIFEST}"))
    learned = manifest["config"].get("stage") or {}
    return isinstance(learned, Mapping) and bool(learned.get("instructions"))
