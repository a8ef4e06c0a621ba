"""Hold a worker's result for a share of a task, as the cache stores it, and join shares to a task's result."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from polyglossa.evaluate.scoring.statistics import Samples
from polyglossa.evaluate.scoring.summary import join_results


@dataclass(frozen=True)
class TaskResult:
    """A share of a task, judged; or, with `reason`, not."""

    task: str
    rows: int
    """Weight of the share in the progress."""
    type: str = ""
    """Kind of task, as mteb names it."""
    metric: str = ""
    """mteb's name of the main score."""
    result: dict[str, Any] = field(default_factory=dict)
    """mteb's own result as plain data."""
    widths: dict[int, dict[str, float]] = field(default_factory=dict)
    """Main score by width below the full one and by subset."""
    samples: dict[str, Samples] = field(default_factory=dict)
    reason: str | None = None
    """Why there is no result."""
    embedded: int = 0
    """Texts that had to be embedded for it."""
    compressed: dict[str, dict[int, dict[str, float]]] = field(default_factory=dict)
    """Main score of compressed vectors by form, width (the full one too) and subset, where it was asked for."""

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "TaskResult":
        """Read what `plain` gave; nothing was embedded for it this time."""
        widths = {int(width): dict(scores) for width, scores in plain["widths"].items()}
        compressed = {
            form: {int(width): dict(scores) for width, scores in found.items()}
            for form, found in plain.get("compressed", {}).items()
        }
        samples = {name: Samples(**one) for name, one in plain["samples"].items()}
        return cls(**{**plain, "widths": widths, "compressed": compressed, "samples": samples, "embedded": 0})


def join(shares: Sequence[TaskResult]) -> TaskResult:
    """Join the shares of one task. One that failed fails the task: a mean over the rest would not be the task's."""
    failed = next((share for share in shares if share.reason is not None), None)
    rows = sum(share.rows for share in shares)
    first = shares[0]
    if failed is not None:
        return TaskResult(first.task, rows, failed.type or first.type, reason=failed.reason)
    widths: dict[int, dict[str, float]] = {}
    compressed: dict[str, dict[int, dict[str, float]]] = {}
    samples: dict[str, Samples] = {}
    for share in shares:
        samples |= share.samples
        for width, scores in share.widths.items():
            widths.setdefault(width, {}).update(scores)
        for form, found in share.compressed.items():
            for width, scores in found.items():
                compressed.setdefault(form, {}).setdefault(width, {}).update(scores)
    result = join_results([share.result for share in shares])
    embedded = sum(share.embedded for share in shares)
    return TaskResult(
        first.task, rows, first.type, first.metric, result, widths, samples, embedded=embedded, compressed=compressed
    )
