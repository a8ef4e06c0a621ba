"""The application's builder: one ingress deployment and one deployment for each member.

serve run serve.app:build members='[{"name": "small", "path": "runs/…/model"}]'
"""

from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from serve.api import make_api
from serve.family import Family
from serve.member import Member
from serve.settings import AppSettings, MemberSettings, Replicas


class Ingress:
    """The deployment class of the endpoint: parses, tokenises, batches and answers; no model runs here."""

    def __init__(self, settings: dict[str, Any], handles: dict[str, DeploymentHandle]) -> None:
        self._settings = AppSettings.model_validate(settings)
        self._handles = handles

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Build the HTTP application inside the replica."""
        return make_api(Family(self._settings, self._handles), self._settings.limits)


def build(args: dict[str, Any]) -> serve.Application:
    """Build the application from the arguments of a config file (see `serve.settings.AppSettings`).

    Raises:
        pydantic.ValidationError: an argument is unknown or wrong.
    """
    settings = AppSettings.model_validate(args)
    handles = {member.name: _member(member) for member in settings.members}
    ingress = serve.deployment(
        serve.ingress()(Ingress),
        name="ingress",
        max_ongoing_requests=1024,
        ray_actor_options={"num_cpus": 0},
        graceful_shutdown_timeout_s=30,
    )
    return ingress.bind(settings.model_dump(mode="json"), handles)


def _member(member: MemberSettings) -> serve.Application:
    deployment = serve.deployment(
        Member,
        name=f"member-{member.name.replace('/', '-')}",
        max_ongoing_requests=4,
        ray_actor_options={"num_cpus": member.cpus, "num_gpus": member.gpus},
        graceful_shutdown_timeout_s=30,
        **_scale(member.replicas),
    )
    return deployment.bind(member.model_dump(mode="json"))


def _scale(replicas: Replicas) -> dict[str, Any]:
    if replicas.min == replicas.max:
        return {"num_replicas": replicas.min}
    autoscaling = {
        "min_replicas": replicas.min,
        "max_replicas": replicas.max,
        "target_ongoing_requests": 1.5,
        "upscale_delay_s": replicas.upscale_delay_seconds,
        "downscale_delay_s": replicas.downscale_delay_seconds,
    }
    return {"autoscaling_config": autoscaling}
