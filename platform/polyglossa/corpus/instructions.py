"""Choose the instruction of a row: the source's own, else the task's; and the documents that get it too.

In symmetric tasks either side could have been the query, so a share of documents gets the instruction as well
(F2LLM-v2: 30 %), chosen by the document's hash, so that one text is always rendered the same way.
"""

import numpy as np
import pyarrow as pa

from polyglossa.corpus.hashing import shares
from polyglossa.recipe.sections.corpus import InstructionsConfig

SYMMETRIC_TASKS = frozenset({"bitext", "clustering", "sts"})


def instruction_for(config: InstructionsConfig, task: str, source: str) -> str:
    """Return the instruction of a source's queries."""
    return config.sources.get(source) or config.tasks[task]


def documents_instructed(config: InstructionsConfig, document_ids: pa.Array, seed: int) -> np.ndarray:
    """Tell which documents of symmetric tasks get the instruction too."""
    return shares(document_ids, seed, "document instruction") < config.document_share
