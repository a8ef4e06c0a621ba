"""Build the Ray Serve application: one ingress deployment and one deployment for each member."""

from typing import TYPE_CHECKING, Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from polyglossa.recipe import StagePlacement
from polyglossa.runtime.nodes import stage_precision
from polyglossa.serving.http.auth import Keyring
from polyglossa.serving.replica import MemberReplica
from polyglossa.serving.replica_handle import LocalReplica
from polyglossa.serving.replica_handle import ReplicaHandle as MemberReplicas
from polyglossa.serving.rerank.replica import RerankerHandle, RerankerReplica
from polyglossa.serving.settings import MemberSettings, Replicas, RerankerSettings, read_settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from polyglossa.serving.batching.messages import Send


class Ingress:
    """The deployment class of the endpoint: parses, tokenises, batches and answers; no model runs here."""

    def __init__(
        self, settings: dict[str, Any], handles: dict[str, DeploymentHandle], rerankers: dict[str, DeploymentHandle]
    ) -> None:
        self._settings = read_settings(settings)
        self._handles, self._rerankers = handles, rerankers

    def __serve_build_asgi_app__(self) -> "FastAPI":
        """Build the HTTP application inside the replica, which alone loads what that takes."""
        from polyglossa.serving.family import Family
        from polyglossa.serving.http.api import make_api
        from polyglossa.serving.metrics import Metrics

        metrics = Metrics(serve.get_replica_context().replica_id.unique_id)
        sends: dict[str, Send] = {name: MemberReplicas(handle).send for name, handle in self._handles.items()}
        for member in self._settings.members:
            if member.colocate:
                sends[member.name] = LocalReplica(MemberReplica(member.model_dump(mode="json"))).send
        scores = {name: RerankerHandle(handle).score for name, handle in self._rerankers.items()}
        return make_api(Family(self._settings, sends, metrics, scores), self._settings, metrics)


def build(args: dict[str, Any]) -> serve.Application:
    """Build the application from the arguments of a config file (see `polyglossa.serving.settings.AppSettings`).

    Raises:
        polyglossa.errors.UserError: an argument is unknown or wrong, or the file of keys is missing or not valid.
    """
    settings = read_settings(args)
    Keyring(settings.keys_file)
    settings = settings.changed(members=tuple(_settled(member).model_dump() for member in settings.members))
    handles = {member.name: _member(member) for member in settings.members if not member.colocate}
    ingress = serve.deployment(
        serve.ingress()(Ingress),
        name="ingress",
        # Back-pressure is the batchers' work, who answer in the API's error shape; this only has to lie above it.
        max_ongoing_requests=4096,
        ray_actor_options={"num_cpus": sum(member.cpus for member in settings.members if member.colocate)},
        graceful_shutdown_timeout_s=settings.limits.request_seconds,
        **_scale(settings.ingress, target_ongoing_requests=128),
    )
    rerankers = {one.name: _reranker(one) for one in settings.rerankers}
    return ingress.bind(settings.model_dump(mode="json"), handles, rerankers)


def _settled(member: MemberSettings) -> MemberSettings:
    """Decide what all replicas of a member compute in, wherever they run."""
    placement = StagePlacement(gpus=member.gpus, cpus=member.cpus, labels=member.labels)
    return member.changed(dtype=stage_precision(member.dtype, placement).dtype)


def _member(member: MemberSettings) -> serve.Application:
    deployment = serve.deployment(
        MemberReplica,
        name=f"member-{member.name.replace('/', '-')}",
        max_ongoing_requests=4,
        health_check_period_s=5,
        ray_actor_options={"num_cpus": member.cpus, "num_gpus": member.gpus, "label_selector": member.labels},
        graceful_shutdown_timeout_s=60,
        **_scale(member.replicas, target_ongoing_requests=1.5),
    )
    return deployment.bind(member.model_dump(mode="json"))


def _reranker(reranker: RerankerSettings) -> serve.Application:
    resources = {"num_cpus": reranker.cpus, "num_gpus": reranker.gpus, "label_selector": reranker.labels}
    deployment = serve.deployment(
        RerankerReplica,
        name=f"reranker-{reranker.name.replace('/', '-')}",
        max_ongoing_requests=2 * reranker.threads,
        max_queued_requests=256,
        ray_actor_options=resources,
        graceful_shutdown_timeout_s=60,
        **_scale(reranker.replicas, target_ongoing_requests=1.5),
    )
    return deployment.bind(reranker.model_dump(mode="json"))


def _scale(replicas: Replicas, *, target_ongoing_requests: float) -> dict[str, Any]:
    if replicas.min == replicas.max:
        return {"num_replicas": replicas.min}
    autoscaling = {
        "min_replicas": replicas.min,
        "max_replicas": replicas.max,
        "target_ongoing_requests": target_ongoing_requests,
        "upscale_delay_s": replicas.upscale_delay_seconds,
        "downscale_delay_s": replicas.downscale_delay_seconds,
    }
    return {"autoscaling_config": autoscaling}
