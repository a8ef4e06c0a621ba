"""The candidates of a search."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

READ_DOCUMENTS = 65_536
"""Documents that are read at once."""


class Documents(Protocol):
    """The candidates of a search, in blocks: unit vectors, float32."""

    def __len__(self) -> int:
        """Number of documents, N."""
        ...

    def block(self, start: int, stop: int) -> Floats:
        """Vectors of documents start … stop − 1, [stop − start, D]."""
        ...

    def take(self, documents: Ints) -> Floats:
        """Vectors of the documents of these numbers, [len(documents), D]."""
        ...


@dataclass(frozen=True)
class InMemory:
    """Documents that are one array, [N, D]."""

    vectors: Floats

    def __len__(self) -> int:
        return len(self.vectors)

    def block(self, start: int, stop: int) -> Floats:
        """See `Documents`."""
        return self.vectors[start:stop]

    def take(self, documents: Ints) -> Floats:
        """See `Documents`."""
        return self.vectors[documents]
