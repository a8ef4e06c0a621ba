"""What a summary tells of the conditions that a model was judged under, and where they could not be kept. Pure."""

from collections.abc import Sequence
from typing import Any

from polyglossa.errors import list_names
from polyglossa.evaluate.models.spec import ModelSpec
from polyglossa.evaluate.plan import PlannedTask

_NAMED = 3


def report_conditions(spec: ModelSpec, max_tokens: int | None, planned: Sequence[PlannedTask]) -> dict[str, Any]:
    """Put the conditions together.

    Args:
        spec: the model, with its conditions.
        max_tokens: longest text that it reads here; None is not known (an endpoint).
        planned: the tasks.

    Returns:
        {"model", "revision", "max_tokens", "dtype"} as mteb has them, and "notices": a line for everything that
        differs, with what was used instead.
    """
    conditions = spec.conditions
    assert conditions is not None
    said = [*conditions.notices]
    if spec.endpoint is not None and conditions.revision is not None:
        said.append("longest text, end token and precision are the endpoint's own; only prompts are those of mteb.")
    elif conditions.max_tokens is not None and max_tokens is not None and max_tokens < conditions.max_tokens:
        wanted = f"{conditions.max_tokens:,}"
        said.append(f"the model has positions for {max_tokens:,} tokens; texts are cut there, not at {wanted}.")
    if spec.endpoint is None and conditions.dtype is not None and spec.dtype != conditions.dtype:
        said.append(f"computed in {spec.dtype}, not {conditions.dtype}, which this device does not gain by.")
    by_kind = [task.name for task in planned if task.prompts is not None and not task.own_prompt and not task.notices]
    if by_kind:
        said.append(
            f"{conditions.name} has no instruction of their own for {list_names(by_kind, _NAMED)}; "
            "its default of their kind is used, as by mteb."
        )
    return {**conditions.plain(), "notices": said}
