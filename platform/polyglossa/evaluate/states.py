"""Raw states of rendered texts, each embedded once per model: what every task and every width of a run reads.

N = texts asked for, D = width of the model.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Embed = Callable[[list[str]], Floats]


class StateTable:
    """A table from rendered text to raw state; texts that it lacks are embedded on demand and kept."""

    def __init__(self, embed: Embed, texts: Sequence[str] = (), state_ND: Floats | None = None) -> None:
        self._embed = embed
        self._rows = {text: row for row, text in enumerate(texts)}
        self._blocks: list[Floats] = [] if state_ND is None else [state_ND]
        self.embedded = 0
        """Texts that were embedded on demand."""

    def __call__(self, texts: Sequence[str]) -> Floats:
        """Return the raw states [N, D] of rendered texts, in their order."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._rows]
        if missing:
            start = len(self._rows)
            self._blocks.append(self._embed(missing))
            self._rows |= {text: start + row for row, text in enumerate(missing)}
            self.embedded += len(missing)
        if len(self._blocks) > 1:
            self._blocks = [np.concatenate(self._blocks)]
        rows = [self._rows[text] for text in texts]
        return self._blocks[0][rows] if self._blocks else self._embed([])
