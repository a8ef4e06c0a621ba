"""Recipe section `own`: what was cut from one's own data to judge by, and what the result is held against.

`polyglossa init` writes it, with the folder that it describes. It shapes the comparison alone, never a model.
"""

from pydantic import Field

from polyglossa.recipe.sections.evaluate import LocalTask
from polyglossa.recipe.strict import Strict, is_absent


class OwnConfig(Strict):
    """One's own data: the tasks that judge by it, and how a model that is held against them is shown."""

    folder: str
    """Folder that `polyglossa init` wrote: `train/`, `heldout/`, `documents/`, `doubts/`, `split.json`."""
    tasks: tuple[str, ...] = Field(min_length=1)
    """Tasks of `evaluate.local` that were cut from one's own data, by name."""
    start: str
    """How tables call the model as it came."""
    bm25: bool = True
    """Also judge BM25 by the searches among the tasks, and by labelled ones through the nearest training texts."""
    examples: int = Field(20, ge=1)
    """Queries shown that gained most, and that lost most."""
    doubtful_rank: int = Field(100, ge=1)
    """A row is listed as doubtful where both models rank all its answers below it."""
    most_training_queries: int = Field(5000, ge=0)
    """Training queries looked at for doubtful labels, by hash; 0 looks at held-out ones alone."""
    average_shares: tuple[float, ...] = (0.5, 0.7, 0.85)
    """Shares of the trained model in averages with the model as it came that are tried where something was lost
    elsewhere; empty tries none."""
    average_queries: int = Field(150, ge=10)
    """Validation queries, and queries of each set elsewhere, that an average is judged by."""


class PreviousModel(Strict):
    """The model that an alias names, promoted by an earlier run of the recipe."""

    model: str
    """Its directory."""
    evaluation: str
    """Artifact of the evaluation that it was promoted with."""


class OwnStage(OwnConfig):
    """The section as the stage reads it. Derived, never written."""

    member: str
    """Member that is held against the others."""
    previous: PreviousModel | None = Field(None, exclude_if=is_absent)
    """None where nothing was promoted before."""
    local: tuple[LocalTask, ...]
    """The tasks."""
    data: str = ""
    """Folder that their relative paths start from."""
    elsewhere: tuple[str, ...] = ()
    """Held-out sets of the corpus that show what was lost."""
    resamples: int = Field(1000, ge=100)
    """Bootstrap resamples behind each interval."""
    seed: int = 0
    """Seed of the resamples."""
    max_tokens: int | None = None
    """Longest text that is embedded; None means the model's own limit."""


class Bm25Config(Strict):
    """What BM25 is judged by. Derived, never written."""

    local: tuple[LocalTask, ...]
    """The tasks; those that are neither searches nor labelled text are passed over."""
    data: str = ""
    """Folder that their relative paths start from."""
    resamples: int = Field(1000, ge=100)
    seed: int = 0
