"""Learning rates as pure functions of the step: linear warm-up, then a cosine that ends at a floor or is cut by it."""

import math
from collections.abc import Callable, Mapping

Rate = Callable[..., float]


def cosine_to_floor(step: int, *, peak: float, floor: float, warmup_steps: int, total_steps: int) -> float:
    """Return the rate of one step: the cosine ends at the floor, at the last step.

    Args:
        step: 0 … total_steps − 1; the first step already learns (1/warmup of the peak).
        peak: rate after warm-up.
        floor: rate that the cosine ends at.
        warmup_steps: steps of the linear rise; more than `total_steps` means that the peak is never reached.
        total_steps: optimizer steps of the stage.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps - 1)
    return floor + (peak - floor) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def published(step: int, *, peak: float, floor: float, warmup_steps: int, total_steps: int) -> float:
    """Return F2LLM-v2's rate of one step: zero at step 0, then the larger of a cosine to zero and the floor.

    transformers' `get_scheduler("cosine")`, whose rate the authors' script raises to the floor after each step, so that
    step 0 alone goes without. The script multiplies the warm-up by the number of processes, and accelerate steps the
    schedule once per process: neither shows in the rate.

    Args:
        step: 0 … total_steps − 1.
        peak: rate after warm-up.
        floor: least rate from step 1 on.
        warmup_steps: steps of the linear rise from zero; the peak is the rate of the step after them.
        total_steps: optimizer steps of the stage; the cosine would reach zero at the one that follows the last.
    """
    if step < warmup_steps:
        rate = peak * step / warmup_steps
    else:
        progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        rate = peak * max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))
    return rate if step == 0 else max(rate, floor)


SCHEDULES: Mapping[str, Rate] = {"cosine": cosine_to_floor, "published": published}
"""By the recipe's names."""
