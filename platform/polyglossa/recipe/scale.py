"""Scale a recipe down (`--set scale=tiny`): the same graph with every size divided, so that two cores run it.

Works on the recipe's plain data before it is validated; what `--set` gives beside `scale` is applied afterwards, as it
is written. Nothing is downloaded and no endpoint is asked: a member that starts from a model by name starts from a new
model of that shape, divided; sources become the embedded corpus; benchmarks become its held-out sets; a mining model
from outside becomes the first member before any training; a teacher from outside and a re-scorer are left out, and so
is `own`, whose tasks are not there.
"""

from collections.abc import Mapping
from typing import Any

from polyglossa.recipe.sections.evaluate import EvaluateConfig

_SHAPE = {"hidden": 32, "mlp": 32, "layers": 8, "heads": 8, "kv_heads": 8, "head_dim": 16}
_LEAST = {"hidden": 8, "mlp": 8, "head_dim": 4, "global_batch": 8, "max_tokens": 16, "chunk_tokens": 256}
_STAGE = {
    "global_batch": 32,
    "max_tokens": 16,
    "chunk_tokens": 8,
    "max_examples": 4000,
    "negatives": 4,
    "steps": 500,
    "warmup_steps": 500,
    "late_checkpoint_steps": 500,
    "validation_steps": 500,
    "evaluate_every": 500,
    "embedding_rank": 32,
}
_MINE = {"top_k": 10, "skip": 10, "negatives": 8, "max_queries": 1000, "max_candidates": 1000, "max_tokens": 16}
_VOCABULARY, _CALIBRATION_ROWS, _VALIDATION_QUERIES, _TEXTS_PER_LANGUAGE = 64, 16, 40, 100
_LEAST_VOCABULARY = 512
_QUERIES_PER_SOURCE = 48
_OF_A_TEACHER = ("teacher", "projection", "without_distillation")
_EMBEDDED = [{"kind": "cldr", "pairs_per_name": 1}, {"kind": "pydoc"}]
_STAGE_1_SOURCES = ["cldr", "pydoc"]


def apply_scale(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's plain data at the scale that it names; at `full`, or none, it is left as it is."""
    if data.get("scale") != "tiny":
        return dict(data)
    members = [_member(member) for member in data.get("members") or []]
    result = {key: value for key, value in data.items() if key not in ("expect", "own")} | {
        "name": f"{data.get('name')}-tiny",
        "corpus": _corpus(data.get("corpus") or {}),
        "training": {name: _stage(stage) for name, stage in (data.get("training") or {}).items()},
        "members": members,
        "evaluate": _evaluate(data.get("evaluate") or {}),
    }
    if data.get("mine"):
        result["mine"] = _mine(data["mine"], members)
    return result


def divide(value: int, by: int, least: int = 1) -> int:
    """Divide a size, rounding up."""
    return max(least, -(-value // by))


def _divide_section(section: Mapping[str, Any], divisors: Mapping[str, int]) -> dict[str, Any]:
    """Divide the keys that are given as numbers."""
    return {
        key: divide(value, divisors[key], _LEAST.get(key, 1)) if key in divisors and isinstance(value, int) else value
        for key, value in section.items()
    }


def _corpus(corpus: Mapping[str, Any]) -> dict[str, Any]:
    settings = ("instructions", "near_duplicates", "sampling", "seed")
    kept = {key: value for key, value in corpus.items() if key in settings}
    # A share of the rows that leaves some for validation; few held-out concepts, for every member is judged on them.
    few = {"max_queries": _QUERIES_PER_SOURCE, "validation_share": 0.2, "heldout_share": 0.01}
    return kept | few | {"sources": _EMBEDDED}


def _stage(stage: Mapping[str, Any]) -> dict[str, Any]:
    dropped = ("source_weights", "evaluate_tasks")
    result = {key: value for key, value in _divide_section(stage, _STAGE).items() if key not in dropped}
    if result.get("sources") is not None:
        result["sources"] = _STAGE_1_SOURCES
    if "task_negatives" in result:
        result["task_negatives"] = {
            task: divide(count, _STAGE["negatives"]) for task, count in result["task_negatives"].items()
        }
    return {"warmup_steps": 1, **result}


def _member(member: Mapping[str, Any]) -> dict[str, Any]:
    result = _divide_section(member, {"steps": _STAGE["steps"]})
    if isinstance(teacher := result.get("teacher"), dict) and isinstance(teacher.get("model"), str):
        result = {key: value for key, value in result.items() if key not in _OF_A_TEACHER}
    if member.get("backbone"):
        result["backbone"] = _backbone(member["backbone"])
    if member.get("prune"):
        result["prune"] = _prune(member["prune"])
    if member.get("merge"):
        result["merge"] = {"validation_queries": _VALIDATION_QUERIES, **member["merge"]}
    return result


def _backbone(backbone: Mapping[str, Any]) -> dict[str, Any]:
    result = {key: value for key, value in backbone.items() if key not in ("model", "revision")}
    if "shape" in backbone:
        result["shape"] = _divide_section({"head_dim": 128, **backbone["shape"]}, _SHAPE)
    if "tokenizer" in backbone:
        rows = divide(int(backbone["tokenizer"].get("vocabulary", 0)), _VOCABULARY, _LEAST_VOCABULARY)
        result["tokenizer"] = {"vocabulary": rows}
    return result | {"max_tokens": divide(backbone.get("max_tokens", 1024), _STAGE["max_tokens"], _LEAST["max_tokens"])}


def _prune(prune: Mapping[str, Any]) -> dict[str, Any]:
    result = _divide_section(prune, _SHAPE) | {
        "calibration_rows": divide(prune.get("calibration_rows", 512), _CALIBRATION_ROWS)
    }
    if prune.get("vocabulary"):
        # A table this small cannot lose much and hold every language, so less is taken off and the guard is wide.
        tokens = divide(prune["vocabulary"]["tokens"], _VOCABULARY // 2, _LEAST_VOCABULARY)
        few = {"tokens": tokens, "texts_per_language": _TEXTS_PER_LANGUAGE, "max_growth": 5.0}
        result["vocabulary"] = prune["vocabulary"] | few
    return result


def _mine(mine: Mapping[str, Any], members: list[dict[str, Any]]) -> dict[str, Any]:
    first = next((f"{member.get('name')}@backbone" for member in members if member.get("backbone")), "")
    settled = {"preset", "query_prompt", "document_prompt", "sources", "approximate", "refresh", "rescore"}
    result = {key: value for key, value in _divide_section(mine, _MINE).items() if key not in settled}
    if not isinstance(mine.get("model"), str) or "@" not in mine["model"]:
        result["model"] = first
    return {"top_k": 10, "negatives": 3, **result, "short": "keep"}


def _evaluate(evaluate: Mapping[str, Any]) -> dict[str, Any]:
    kept = {"judged_as": evaluate["judged_as"]} if evaluate.get("judged_as") else {}
    untrained = evaluate.get("untrained", "cheap")
    if untrained == "cheap" and not (evaluate.get("heldout", EvaluateConfig().heldout) or evaluate.get("local")):
        untrained = "none"  # what the full recipe comes to: the tiny one has held-out sets in place of benchmarks
    kept["untrained"] = untrained
    return {"heldout": ["cldr", "pydoc"], "widths": evaluate.get("widths", True), "resamples": 100, **kept}
