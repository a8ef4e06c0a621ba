"""How mteb runs a model of its list: the conditions under which a published score was made.

Nothing is copied: prompts, template, longest text, end token and precision are read from mteb's own metadata, and which
prompt a task gets is decided by mteb's own code. What of it cannot be followed here is said, with what is used instead.
"""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import mteb
from mteb.models import SentenceTransformerEncoderWrapper
from mteb.models.abs_encoder import AbsEncoder, get_prompt_name
from mteb.models.instruct_wrapper import InstructSentenceTransformerModel
from mteb.models.model_meta import ModelMeta
from mteb.types import PromptType

from polyglossa.evaluate.models.spec import Conditions

_OWN = "the model's own prompts, longest text and precision are used instead"
_COMMIT = re.compile(r"/snapshots/([0-9a-f]{40})$")
_DTYPES = ("float32", "bfloat16")
_FOLLOWED = frozenset({
    "instruction_template", "prompts_dict", "prompt_priority", "apply_instruction_to_passages", "model_prompts",
    "max_seq_length", "add_eos_token",
})  # fmt: skip
_SEARCHES = ("Retrieval", "Reranking", "InstructionRetrieval", "InstructionReranking")
_WITHOUT_EFFECT = frozenset({"trust_remote_code", "device", "padding_side", "attn_implementation"})
"""Texts are packed, so no side is padded; attention and place are ours."""


@dataclass(frozen=True)
class TaskPrompts:
    """The prompts of one task."""

    prompts: dict[str, str]
    """Prefix by mteb's names: of the task, of its queries, of its documents."""
    origin: str
    """`task` (it has an instruction of its own), `kind` (the default of its type or role), or `mteb` (the model's
    metadata names none, so that it is mteb's own default of the task)."""


def read_conditions(judged_as: str, path: str | None = None) -> Conditions:
    """Read how mteb runs a model.

    Args:
        judged_as: its name, or `name@revision`.
        path: directory that is judged; a snapshot of the hub's cache tells its revision.
    """
    name, _, asked = judged_as.partition("@")
    meta, unknown = find_metadata(name)
    if meta is None:
        return Conditions(name, notices=(unknown,))
    held = asked or (found[1] if path and (found := _COMMIT.search(path.rstrip("/"))) else "")
    said = []
    if held and held != meta.revision:
        said.append(f"mteb's metadata of {name} is of revision {meta.revision}, not {held}; it is used all the same.")
    wrapper = _wrapper_of(meta)
    if wrapper is None:
        loader = getattr(meta.loader, "__name__", str(meta.loader))
        said.append(f"mteb runs {name} by code of its own ({loader}), which tells no prompts; {_OWN}.")
        return Conditions(name, meta.revision, notices=tuple(said))
    given = dict(meta.loader_kwargs or {})
    dtype, odd = _dtype_of(name, given.pop("model_kwargs", None) or {})
    others = sorted(set(given) - _FOLLOWED - _WITHOUT_EFFECT)
    said += [*odd, *(f"mteb also runs {name} with {key} = {given[key]!r}; it is not followed here." for key in others)]
    return Conditions(
        name,
        meta.revision,
        given.get("max_seq_length"),
        dtype,
        ends_texts=bool(given.get("add_eos_token")),
        instructs=isinstance(wrapper, InstructSentenceTransformerModel),
        notices=tuple(said),
    )


def find_metadata(name: str) -> tuple[ModelMeta | None, str]:
    """Look a model up in mteb's list; None, and a line that says so, where it is not there."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # a renamed model is found under its new name
            return mteb.get_model_meta(name), ""
    except KeyError as error:
        near = str(error.args[0]).partition("registry.")[2].strip()
        return None, f"mteb {version('mteb')} knows no model {name!r}; {_OWN}. {near}".strip()


def prompts_of(judged_as: str, task: Any) -> TaskPrompts | None:
    """Choose the prompts of an mteb task as mteb does for a model; None where the model's own count.

    Args:
        judged_as: the model, or `name@revision`.
        task: the task.
    """
    meta, _ = find_metadata(judged_as.partition("@")[0])
    wrapper = _wrapper_of(meta) if meta is not None else None
    if isinstance(wrapper, InstructSentenceTransformerModel):
        return _instructions(wrapper, task)
    if wrapper is None or not wrapper.model_prompts:
        return None
    named = get_prompt_name(wrapper.model_prompts, task.metadata, None)
    return TaskPrompts(dict(wrapper.model_prompts), "task" if named == task.metadata.name else "kind")


def _instructions(wrapper: InstructSentenceTransformerModel, task: Any) -> TaskPrompts:
    """Ask mteb's wrapper what it puts before each kind of text of a task, and of those that the task is made of."""
    prompts: dict[str, str] = {}
    for one in (task, *getattr(task.metadata, "tasks", ())):
        for role in (None, *PromptType):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a role for which a task has no prompt: none is put before it
                instruction = wrapper.get_task_instruction(one.metadata, role)
            bare = role == PromptType.document and not wrapper.apply_instruction_to_passages
            name = one.metadata.name if role is None else f"{one.metadata.name}-{role.value}"
            prompts[name] = "" if bare else instruction or ""
    return TaskPrompts(prompts, _origin(task.metadata, wrapper.prompts_dict or {}))


def _origin(metadata: Any, known: Mapping[str, str]) -> str:
    if metadata.name in known:
        return "task"
    kinds = {metadata.type, PromptType.query.value} if metadata.type in _SEARCHES else {metadata.type}
    return "kind" if kinds & set(known) else "mteb"


def _wrapper_of(meta: ModelMeta) -> AbsEncoder | None:
    """Make mteb's wrapper of a model without its weights: what chooses prompts; None where it has code of its own."""
    given, loader = dict(meta.loader_kwargs or {}), meta.loader
    if loader is InstructSentenceTransformerModel:
        instructing = object.__new__(InstructSentenceTransformerModel)
        instructing.instruction_template = given.get("instruction_template")
        instructing.prompts_dict = given.get("prompts_dict")
        instructing.apply_instruction_to_passages = given.get("apply_instruction_to_passages", True)
        if given.get("prompt_priority") is not None:
            from mteb.models.abs_encoder import PromptSource

            instructing.prompt_priority = [PromptSource.from_str(source) for source in given["prompt_priority"]]
        return instructing
    if loader is SentenceTransformerEncoderWrapper or getattr(loader, "__name__", "") == "sentence_transformers_loader":
        plain = object.__new__(SentenceTransformerEncoderWrapper)
        valid, _ = AbsEncoder.validate_task_to_prompt_name(given.get("model_prompts"), raise_for_invalid_keys=False)
        plain.model_prompts = valid
        return plain
    return None


def _dtype_of(name: str, given: Mapping[str, Any]) -> tuple[str | None, list[str]]:
    """The precision among a model's arguments, and lines about what is not followed."""
    rest = {key: value for key, value in given.items() if key not in ("torch_dtype", "dtype", *_WITHOUT_EFFECT)}
    said = [f"mteb also runs {name} with {key} = {value!r}; it is not followed here." for key, value in rest.items()]
    wanted = str(given.get("torch_dtype", given.get("dtype")) or "").removeprefix("torch.")
    if wanted in ("", "auto", *_DTYPES):
        return wanted if wanted in _DTYPES else None, said
    return "float32", [*said, f"mteb runs {name} in {wanted}; it is computed in float32 here."]
