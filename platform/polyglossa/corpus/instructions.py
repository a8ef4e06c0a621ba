"""Which instruction a row carries: a source's own, else its task's; and which documents get it too.

In symmetric tasks either side could have been the query, so a share of documents gets the instruction as well
(F2LLM-v2: 30 %), chosen by the document's hash, so that one text is always rendered the same way.
"""

import xxhash

from polyglossa.recipe.corpus import InstructionsConfig

SYMMETRIC_TASKS = frozenset({"bitext", "clustering", "sts"})


def instruction_for(config: InstructionsConfig, task: str, source: str) -> str:
    """Return the instruction of a source's queries."""
    return config.sources.get(source) or config.tasks[task]


def document_is_instructed(config: InstructionsConfig, document_id: bytes, seed: int) -> bool:
    """Tell whether a document of a symmetric task gets the instruction too."""
    return draw_share(document_id, seed, b"document instruction") < config.document_share


def draw_share(key: bytes, seed: int, purpose: bytes) -> float:
    """Draw a number in [0, 1) that depends on its arguments alone."""
    return xxhash.xxh3_64_intdigest(purpose + b"\x1f" + key, seed=seed) / 2**64
