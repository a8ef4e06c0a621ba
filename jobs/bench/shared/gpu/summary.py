"""What the session comes to, in one flat object: the record of the benchmark, and the targets it is held to."""

from typing import Any

Json = dict[str, Any]

TARGETS = {
    "packed_over_columns": 4.0,
    "packed_over_sentence_transformers": 2.0,
    "peak_share_0.6b": 0.5,
    "peak_share_search": 0.7,
}
"""Least values."""


def summary(phases: Json) -> Json:
    """Return the figures that count, None where a phase did not bring one, and which targets they reach."""
    large, small = phases.get("train_0.6b", {}), phases.get("train_80m", {})
    best = _best(large, "packed", "packed_compiled")
    rival = _best(phases.get("sentence_transformers", {}), "mini_batch_32", "mini_batch_128")
    memory = [one["gib"] for one in phases.get("memory", {}).values() if isinstance(one, dict) and "gib" in one]
    found: Json = {
        "gpu": phases.get("machine", {}).get("gpu"),
        "bfloat16_tflops": phases.get("machine", {}).get("bfloat16_tflops"),
        "tokens_per_second_0.6b": best,
        "tokens_per_second_80m": _best(small, "packed", "packed_compiled"),
        "peak_share_0.6b": _most(large, "peak_share", "packed", "packed_compiled"),
        "peak_share_80m": _most(small, "peak_share", "packed", "packed_compiled"),
        "compiled_over_eager": _ratio(_best(large, "packed_compiled"), _best(large, "packed")),
        "packed_over_by_length": _ratio(best, _best(large, "padded_by_length")),
        "packed_over_columns": _ratio(best, _best(large, "padded_in_columns")),
        "packed_over_sentence_transformers": _ratio(best, rival),
        "peak_share_search": phases.get("search", {}).get("resident_peak_share"),
        "memory_growth": memory[-1] / memory[0] if len(memory) > 1 and memory[0] else None,
        "synchronisations": phases.get("synchronisations", {}).get("counted"),
        "kernel_ran": phases.get("gradients", {}).get("kernel_ran"),
        "gradients_equal": phases.get("gradients", {}).get("equal_to_bfloat16"),
        "failed": sorted(name for name, one in phases.items() if "error" in one),
        "skipped": sorted(name for name, one in phases.items() if "skipped" in one),
    }
    found["reached"] = sorted(name for name, least in TARGETS.items() if (found[name] or 0.0) >= least)
    return found


def _most(phase: Json, key: str, *ways: str) -> float | None:
    values = [float(phase[way][key]) for way in ways if isinstance(phase.get(way), dict) and key in phase[way]]
    return max(values, default=None)


def _best(phase: Json, *ways: str) -> float | None:
    return _most(phase, "tokens_per_second", *ways)


def _ratio(left: float | None, right: float | None) -> float | None:
    return left / right if left and right else None
