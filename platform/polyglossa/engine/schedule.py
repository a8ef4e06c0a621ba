"""Learning rate as a pure function of the step: linear warm-up, then a cosine down to the floor."""

import math


def learning_rate(step: int, *, peak: float, floor: float, warmup_steps: int, total_steps: int) -> float:
    """Return the rate of one step.

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
