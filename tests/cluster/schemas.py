"""Strict checks of manifests: against KubeRay's published schemas, and against the Kubernetes client's own models."""

import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from kubernetes import client

ROOT = Path(__file__).parents[2]
CRDS = Path(os.environ.get("KUBERAY_CRDS", ROOT.parent / "shared" / "reference" / "kuberay-crds"))


VERSIONS = ("1.5", "1.6", "1.7")
"""Versions of KubeRay: folders of `CRDS`; what lies in `CRDS` itself is the newest."""


@functools.cache
def schema_of(kind: str, version: str = VERSIONS[-1]) -> dict[str, Any]:
    """Read the schema of a KubeRay resource; the test is skipped where it is not on this machine."""
    name = f"ray.io_{kind.lower()}s.yaml"
    newest = [CRDS / name] if version == VERSIONS[-1] else []
    path = next((path for path in [CRDS / version / name, *newest] if path.is_file()), None)
    if path is None:
        pytest.skip(
            f"the CRDs of KubeRay {version} are not in {CRDS}; set KUBERAY_CRDS to a folder of {version}/{name}"
        )
    definition = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    (served,) = (one for one in definition["spec"]["versions"] if one["name"] == "v1")
    schema: dict[str, Any] = served["schema"]["openAPIV3Schema"]
    return schema


def problems(manifest: dict[str, Any], version: str = VERSIONS[-1]) -> list[str]:
    """List what a KubeRay resource has wrong: values that its schema refuses, and fields that it does not know."""
    if manifest["kind"] == "RayCronJob":  # its jobTemplate is a RayJob's spec
        manifest = {**manifest, "kind": "RayJob", "spec": manifest["spec"]["jobTemplate"]}
    schema = schema_of(manifest["kind"], version)
    refused = [f"{error.json_path}: {error.message}" for error in Draft7Validator(schema).iter_errors(manifest)]
    ours = {name: value for name, value in manifest.items() if name != "metadata"}  # the API server knows metadata
    return [*refused, *(f"{path}: unknown field" for path in _unknown(schema, ours, manifest["kind"]))]


def as_kubernetes_reads(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """Read data into the client's model and write it out again: unknown fields vanish, missing ones raise."""
    api = client.ApiClient()

    class Response:
        """What the client wants to read from."""

        def __init__(self, text: str) -> None:
            self.data = text

    read = api.deserialize(Response(json.dumps(data)), kind)
    written: dict[str, Any] = api.sanitize_for_serialization(read)
    return written


def _unknown(schema: dict[str, Any], value: Any, path: str) -> Iterator[str]:
    """Walk a value beside its schema; the API server would silently drop what is found here."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown(schema.get("items", {}), item, f"{path}[{index}]")
    if not isinstance(value, dict) or schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    known, others = schema.get("properties", {}), schema.get("additionalProperties")
    for name, item in value.items():
        if name in known:
            yield from _unknown(known[name], item, f"{path}.{name}")
        elif isinstance(others, dict):
            yield from _unknown(others, item, f"{path}.{name}")
        else:
            yield f"{path}.{name}"
