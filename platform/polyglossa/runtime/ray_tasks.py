"""Wait for Ray tasks. Every stage and search that starts some reads their results here, so errors look alike."""

from collections.abc import Sequence
from typing import Any

import ray

from polyglossa.errors import PolyglossaError


def results(references: Sequence[Any]) -> list[Any]:
    """Wait for tasks; an error that was raised on purpose comes out as itself, without the worker's stack.

    Args:
        references: of the tasks.

    Returns:
        Their results, in order.
    """
    try:
        return list(ray.get(list(references)))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, PolyglossaError):
            raise error.cause from None
        raise
