"""How a request has texts scored, whoever does it."""

from collections.abc import Awaitable, Callable, Sequence

import numpy as np

Score = Callable[[str, Sequence[str]], Awaitable[np.ndarray]]
"""Takes a query and texts; gives a number for each."""
