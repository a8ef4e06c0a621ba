"""Run a trial's own processes: Ray Tune's driver of it, and the student beside it. Imports no torch.

A trial's driver takes no CPU. It has the maker prepare what the trial needs, starts the student on the CPUs, GPUs and
nodes of the profile, and passes the student's reports on. When Ray Tune ends the driver, the student ends with it.
"""

from typing import Any

import ray
from ray import tune

from polyglossa.recipe.placement import TunePlacement


class StudentProcess:
    """The actor around a student: what a student imports, its driver need not."""

    def __init__(self, assignment: Any) -> None:
        from polyglossa.tune.trial.student import TrialStudent

        self._student = TrialStudent(assignment)

    def following(self) -> Any:
        """See `student.Student`."""
        return self._student.following()


def drive(config: dict[str, Any], maker: Any, placement: TunePlacement, common: dict[str, Any]) -> None:
    """Run one trial. What would happen again on a retry is reported, not raised.

    Args:
        config: arguments of `Maker.assignment` that are the trial's own.
        maker: the actor that makes what trials need.
        placement: what the student takes.
        common: those that are the same for all.
    """
    refused, assignment = maker.prepared.options(num_returns=2).remote(**config, **common)
    reason = ray.get(refused)
    if reason is not None:
        tune.report({"step": 0, "score": 0.0, "failed": reason, "final": True})
        return
    student: Any = (
        ray.remote(StudentProcess)
        .options(
            **placement.ray_options,
            scheduling_strategy="DEFAULT",  # not within the trial's own placement group, which holds nothing
        )
        .remote(assignment)
    )
    final = False
    while not final:
        report: dict[str, Any] = ray.get(student.following.remote())
        final = report["final"]
        tune.report(report)
