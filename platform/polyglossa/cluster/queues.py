"""Labels and annotations by which queues let clusters in: Kueue, and the gang schedulers Volcano, YuniKorn and KAI."""

from polyglossa.cluster.spec import ClusterSpec

_ELASTIC = {"kueue.x-k8s.io/elastic-job": "true"}


def job_labels(spec: ClusterSpec) -> dict[str, str]:
    """Labels of jobs and of the cluster for them: the queue that lets them in, and their priority in it."""
    jobs = spec.jobs
    if jobs.queue is None:
        return {}
    labels = {
        "kueue": {"kueue.x-k8s.io/queue-name": jobs.queue},
        "volcano": {"volcano.sh/queue-name": jobs.queue},
        "yunikorn": {
            "ray.io/gang-scheduling-enabled": "true",
            "yunikorn.apache.org/app-id": spec.name,
            "yunikorn.apache.org/queue": jobs.queue,
        },
        "kai": {"kai.scheduler/queue": jobs.queue},
    }[jobs.scheduler]
    if jobs.priority is None:
        return labels
    name = "kueue.x-k8s.io/priority-class" if jobs.by_kueue else "ray.io/priority-class-name"
    return labels | {name: jobs.priority}


def job_annotations(spec: ClusterSpec) -> dict[str, str]:
    """Annotations of jobs: Kueue admits a cluster that scales as an elastic job alone."""
    return dict(_ELASTIC) if spec.jobs.by_kueue and spec.jobs.autoscale else {}


def service_labels(spec: ClusterSpec) -> dict[str, str]:
    """Labels of the endpoint."""
    service = spec.service
    if service.queue is None:
        return {}
    labels = {"kueue.x-k8s.io/queue-name": service.queue}
    return labels | ({"kueue.x-k8s.io/priority-class": service.priority} if service.priority else {})


def service_annotations(spec: ClusterSpec) -> dict[str, str]:
    """Annotations of the endpoint, which always scales."""
    return dict(_ELASTIC) if spec.service.queue is not None else {}
