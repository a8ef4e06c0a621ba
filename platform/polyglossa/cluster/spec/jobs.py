"""Section `jobs` of a cluster spec: how stages run as RayJobs, who admits them, and when they go."""

from typing import Literal

from pydantic import Field

from polyglossa.recipe.strict import Strict

CRON = r"^\S+ \S+ \S+ \S+ \S+$"


class Schedule(Strict):
    """A stage that runs again and again: what did not change is found and reused, so a quiet night costs the head."""

    job: str
    """Stage with a command of its own, or `pipeline`."""
    cron: str = Field(pattern=CRON)
    """Minute, hour, day of the month, month, day of the week."""
    time_zone: str | None = Field(None, min_length=1)
    """IANA name; None takes the operator's."""
    suspended: bool = False
    """Whether it waits until somebody sets `suspend: false`."""


class Jobs(Strict):
    """How stages run as RayJobs."""

    recipe: str = "jobs/recipes/quickstart.yaml"
    """Recipe inside the image."""
    profile: str = "cluster/profiles/multi-node.yaml"
    """Placement profile inside the image."""
    retries: int = Field(2, ge=0)
    """New clusters after a failed one; a run goes on where it stopped."""
    deadline_seconds: int = Field(7 * 24 * 3600, ge=60)
    """Longest life of a job, waiting included."""
    keep_seconds: int = Field(3600, ge=0)
    """How long a finished job's cluster stays, for its logs."""
    keep_failed_seconds: int | None = Field(None, ge=0)
    """How long a failed job's cluster stays; set it to have deletion rules in place of one time for both."""
    forget_seconds: int | None = Field(None, ge=0)
    """When the RayJob itself goes, with deletion rules; None keeps it."""
    queue: str | None = None
    """Queue that lets jobs in; None asks nobody."""
    scheduler: Literal["kueue", "volcano", "yunikorn", "kai"] = "kueue"
    """Whose queue it is. The last three schedule a cluster's pods as one gang."""
    autoscale: bool = True
    """Whether clusters grow and shrink; false renders fixed sizes (`groups.*.fixed`), which all queues admit."""
    priority: str | None = None
    """Priority class of jobs, one of `priorities`."""
    suspended: bool = False
    """Whether jobs wait until somebody sets `suspend: false`; a Kueue queue sees to it itself."""
    schedules: tuple[Schedule, ...] = ()

    @property
    def by_kueue(self) -> bool:
        """Whether Kueue lets jobs in."""
        return self.queue is not None and self.scheduler == "kueue"

    @property
    def has_deletion_rules(self) -> bool:
        """Whether success and failure have times of their own."""
        return self.keep_failed_seconds is not None
