"""What of a valid-looking spec cannot be rendered: combinations that an operator refuses, and promises nobody keeps.

Each rule yields (path of the key, what is wrong and what to do).
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from polyglossa.cluster.spec.operators import FEATURES, most_groups

if TYPE_CHECKING:
    from polyglossa.cluster.spec import ClusterSpec

Refusal = tuple[str, str]

# KubeRay 1.7 refuses longer ones (ray-operator/controllers/ray/utils/constant.go:375-385).
MOST_CLUSTER_NAME = 53
MOST_JOB_NAME = 47
MOST_CRON_JOB_NAME = 36

KNOWN_GATES = {feature.gate for feature in FEATURES.values() if feature.gate}


def refusals(spec: "ClusterSpec") -> Iterator[Refusal]:
    """Yield what cannot be rendered."""
    yield from _operators(spec)
    yield from _names(spec)
    yield from _groups(spec)
    yield from _queues(spec)
    yield from _lifetimes(spec)
    yield from _schedules(spec)
    yield from _fault_tolerance(spec)
    yield from _service(spec)
    yield from _upgrade(spec)
    yield from _priorities(spec)
    yield from _history(spec)


def _lacking(spec: "ClusterSpec", feature: str, path: str) -> Iterator[Refusal]:
    reason = FEATURES[feature].lacking(spec.operators, spec.ray)
    if reason:
        yield path, reason


def _operators(spec: "ClusterSpec") -> Iterator[Refusal]:
    for number, gate in enumerate(spec.operators.gates):
        if gate not in KNOWN_GATES:
            yield (
                f"operators.gates.{number}",
                f"{gate!r} is no gate that a spec depends on; these are {', '.join(sorted(KNOWN_GATES))}",
            )


def _names(spec: "ClusterSpec") -> Iterator[Refusal]:
    from polyglossa.pipeline.stages import STAGES

    longest = max((*(name for name, stage in STAGES.items() if stage.has_job), "pipeline"), key=len)
    if len(f"{spec.name}-{longest}") > MOST_JOB_NAME:
        yield (
            "name",
            f"{spec.name!r} is too long: KubeRay takes {MOST_JOB_NAME} characters for a RayJob, and "
            f"{spec.name}-{longest} has {len(spec.name) + len(longest) + 1}",
        )


def _groups(spec: "ClusterSpec") -> Iterator[Refusal]:
    for name, group in spec.groups.items():
        path = f"groups.{name}"
        if name == "head":
            yield path, "the name is taken by the head's group; give another"
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name) or len(name) > 63:
            yield path, f"{name!r} is no DNS label: small letters, digits and hyphens, at most 63"
        if group.priority:
            yield from _lacking(spec, "group_priority", f"{path}.priority")
        if group.topology and spec.jobs.by_kueue:
            yield from _lacking(spec, "topology_request", f"{path}.topology")
    if spec.service.group not in spec.groups:
        yield "service.group", f"{spec.service.group!r} is not one of {', '.join(spec.groups)}"


def _queues(spec: "ClusterSpec") -> Iterator[Refusal]:
    jobs = spec.jobs
    if jobs.by_kueue:
        yield from _lacking(spec, "queued_job", "jobs.queue")
        if spec.operators.kueue and len(spec.groups) > (most := most_groups(spec.operators.kueue)):
            yield "groups", f"Kueue {spec.operators.kueue} admits {most} groups in a cluster, got {len(spec.groups)}"
        if jobs.autoscale:
            for path, reason in _lacking(spec, "elastic_job", "jobs.queue"):
                yield path, f"{reason}; or set jobs.autoscale: false to have fixed sizes (groups.*.fixed)"
    elif jobs.queue is None and jobs.scheduler != "kueue":
        yield "jobs.scheduler", f"{jobs.scheduler} schedules what names a queue; give jobs.queue"
    elif jobs.queue is not None and jobs.autoscale:
        yield (
            "jobs.autoscale",
            f"{jobs.scheduler} starts a cluster's fewest nodes as one gang, and those of a cluster that scales are "
            "none; set it to false and give groups.*.fixed",
        )
    if not jobs.autoscale:
        for name, group in spec.groups.items():
            if group.fixed is None and name != spec.service.group:
                yield f"groups.{name}.fixed", "is missing: jobs.autoscale is false, so say how many nodes a job has"
            if group.idle_seconds is not None and group.fixed and name != spec.service.group:
                yield f"groups.{name}.idle_seconds", "means nothing where nodes do not leave (jobs.autoscale: false)"


def _lifetimes(spec: "ClusterSpec") -> Iterator[Refusal]:
    jobs = spec.jobs
    if jobs.has_deletion_rules:
        yield from _lacking(spec, "deletion_rules", "jobs.keep_failed_seconds")
        if jobs.by_kueue:
            yield (
                "jobs.keep_failed_seconds",
                "Kueue admits only jobs that give their cluster back when they end, which KubeRay does not combine "
                "with deletion rules; leave it out",
            )
        if jobs.suspended:
            yield (
                "jobs.suspended",
                "KubeRay suspends no job that has deletion rules; leave jobs.keep_failed_seconds out",
            )
        longest = max(jobs.keep_seconds, jobs.keep_failed_seconds or 0)
        if jobs.forget_seconds is not None and jobs.forget_seconds < longest:
            yield "jobs.forget_seconds", f"{jobs.forget_seconds} is before the cluster goes ({longest} s)"
    elif jobs.forget_seconds is not None:
        yield "jobs.forget_seconds", "is a deletion rule; give jobs.keep_failed_seconds too"
    if jobs.suspended and jobs.by_kueue:
        yield "jobs.suspended", "Kueue suspends and resumes its jobs itself; leave it out"


def _schedules(spec: "ClusterSpec") -> Iterator[Refusal]:
    from polyglossa.pipeline.stages import STAGES

    known = [*(name for name, stage in STAGES.items() if stage.has_job), "pipeline"]
    for number, schedule in enumerate(spec.jobs.schedules):
        path = f"jobs.schedules.{number}"
        yield from _lacking(spec, "cron_job", path)
        if schedule.time_zone is not None:
            yield from _lacking(spec, "cron_time_zone", f"{path}.time_zone")
        if schedule.job not in known:
            yield f"{path}.job", f"{schedule.job!r} is not one of {', '.join(known)}"
        elif len(f"{spec.name}-{schedule.job}") > MOST_CRON_JOB_NAME:
            yield "name", f"{spec.name!r} is too long: KubeRay takes {MOST_CRON_JOB_NAME} characters for a RayCronJob"
    jobs = [schedule.job for schedule in spec.jobs.schedules]
    if len(set(jobs)) < len(jobs):
        yield "jobs.schedules", f"a job has one schedule, got {', '.join(jobs)}"


def _fault_tolerance(spec: "ClusterSpec") -> Iterator[Refusal]:
    tolerance = spec.fault_tolerance
    if tolerance.backend == "redis" and tolerance.address is None:
        yield "fault_tolerance.address", "is missing: say where Redis is, as redis://host:6379"
    if tolerance.backend != "redis":
        for name in ("address", "secret"):
            if getattr(tolerance, name) is not None:
                yield f"fault_tolerance.{name}", f"belongs to backend: redis, got backend: {tolerance.backend}"
    if tolerance.backend == "rocksdb":
        yield from _lacking(spec, "rocksdb", "fault_tolerance.backend")
    if tolerance.jobs and tolerance.backend == "none":
        yield "fault_tolerance.jobs", "needs a backend: redis or rocksdb"
    if not tolerance.jobs:
        if tolerance.driver_group is not None:
            yield "fault_tolerance.driver_group", "is for jobs; set fault_tolerance.jobs: true"
        return
    group = spec.groups.get(tolerance.driver_group or "")
    if group is None:
        yield (
            "fault_tolerance.driver_group",
            f"{tolerance.driver_group!r} is not one of {', '.join(spec.groups)}: a driver on the head ends with it",
        )
    elif group.spot:
        yield "fault_tolerance.driver_group", "its nodes are spot: a driver there is lost more often than a head"
    elif tolerance.driver_group == spec.service.group:
        yield "fault_tolerance.driver_group", "is the endpoint's group, which jobs do not have"


def _service(spec: "ClusterSpec") -> Iterator[Refusal]:
    service = spec.service
    if service.keys is None and not service.open:
        yield (
            "service.keys",
            "is missing: the endpoint listens on 0.0.0.0 and anybody who reaches it could call; name a secret "
            "(keys: {secret: NAME}), or say open: true",
        )
    if service.keys is not None and service.open:
        yield "service.open", "is true while service.keys asks for keys; keep one"
    names = [member.name for member in service.members]
    for number, member in enumerate(service.members):
        path = f"service.members.{number}"
        if names.index(member.name) != number:
            yield f"{path}.name", f"{member.name!r} is there twice"
        if member.min > member.max:
            yield f"{path}.min", f"{member.min} is above max = {member.max}"
        if not spec.storage.reaches(member.path):
            where = "a bucket" if spec.storage.uri else f"the volume ({spec.storage.mount}/…) or a bucket"
            yield f"{path}.path", f"{member.path} is not on {where}: no node would find it"
    for alias, name in service.aliases.items():
        if name not in names:
            yield f"service.aliases.{alias}", f"{name!r} is not one of {', '.join(names)}"
        if alias in names:
            yield f"service.aliases.{alias}", "is a member's own name"
    if service.ingress.min > service.ingress.max:
        yield "service.ingress.min", f"{service.ingress.min} is above max = {service.ingress.max}"
    if service.queue is not None:
        yield from _lacking(spec, "queued_service", "service.queue")
        yield from _lacking(spec, "suspended_service", "service.queue")
        for path, reason in _lacking(spec, "elastic_job", "service.queue"):
            yield path, f"{reason}; the endpoint always scales"
    if (service.tls is not None or service.upgrade.kind == "incremental") and not spec.network.clients:
        yield "network.clients", "is empty: name the namespace of the Ingress controller or Gateway, or nobody gets in"


def _upgrade(spec: "ClusterSpec") -> Iterator[Refusal]:
    upgrade = spec.service.upgrade
    if upgrade.kind != "incremental":
        if upgrade.gateway_class is not None:
            yield "service.upgrade.gateway_class", f"is for kind: incremental, got kind: {upgrade.kind}"
        return
    yield from _lacking(spec, "incremental_upgrade", "service.upgrade.kind")
    if upgrade.gateway_class is None:
        yield "service.upgrade.gateway_class", "is missing: KubeRay splits traffic with a Gateway of that class"
    if spec.service.tls is not None:
        yield (
            "service.tls",
            "KubeRay makes the Gateway of an incremental upgrade itself, with an HTTP listener; terminate TLS before "
            "it and leave this out",
        )


def _priorities(spec: "ClusterSpec") -> Iterator[Refusal]:
    for path, name in (("jobs.priority", spec.jobs.priority), ("service.priority", spec.service.priority)):
        if name is not None and name not in spec.priorities:
            yield path, f"{name!r} is not one of priorities: {', '.join(spec.priorities) or 'there are none'}"


def _history(spec: "ClusterSpec") -> Iterator[Refusal]:
    if spec.history is None:
        return
    yield from _lacking(spec, "history_server", "history")
    if spec.history.backend == "S3" and spec.history.region is None:
        yield "history.region", "is missing: the collector asks for the region of an S3 bucket"
