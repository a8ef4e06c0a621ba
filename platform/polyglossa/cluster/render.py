"""Write everything that derives from `cluster/spec.yaml`, and name what is stale (`polyglossa cluster render`)."""

import json
from pathlib import Path
from typing import Any

import yaml

from polyglossa import __version__
from polyglossa.cluster.grafana import dashboard
from polyglossa.cluster.kuberay import manifests
from polyglossa.cluster.serve_config import serve_config
from polyglossa.cluster.spec import ClusterSpec, load_spec
from polyglossa.cluster.vms import vm_files

_HEADER = "# Rendered from cluster/spec.yaml by `make manifests`. Change the spec, not this file.\n"
_SERVE_HEADER = """\
# The endpoint on any cluster: `serve deploy serve/config/production.yaml`. The RayService holds the same.
# The image holds the repository as its working directory, models lie where `path` says, and keys are a secret that is
# mounted under /etc/polyglossa: without that file the application does not start.
"""


class _Dumper(yaml.SafeDumper):
    """Plain YAML: no anchors, long text in blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def render(spec: ClusterSpec, version: str = __version__) -> dict[str, str]:
    """Return every derived file, path from `cluster/` → content."""
    files = {f"kuberay/{name}": _dump(documents) for name, documents in manifests(spec, version).items()}
    if spec.service.config_file:
        files[spec.service.config_file] = _SERVE_HEADER + _dump([serve_config(spec)])
    files |= {f"ray-up/{name}": _dump([content]) for name, content in vm_files(spec, version).items()}
    return files | {"grafana/polyglossa.json": json.dumps(dashboard(), indent=1) + "\n"}


def write(folder: Path) -> list[Path]:
    """Render a cluster folder's spec into it; files that no longer derive from it are removed.

    Raises:
        RecipeError: the spec is missing or not valid.
    """
    files = render(load_spec(folder / "spec.yaml"))
    for path in _derived_files(folder):
        if str(path.relative_to(folder)) not in files:
            path.unlink()
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return [folder / name for name in files]


def stale(folder: Path) -> list[str]:
    """Name the files that differ from what the spec says, are missing, or should not be there."""
    files = render(load_spec(folder / "spec.yaml"))
    different = {name for name, content in files.items() if _read(folder / name) != content}
    left_over = {str(path.relative_to(folder)) for path in _derived_files(folder)} - files.keys()
    return sorted(different | left_over)


def _derived_files(folder: Path) -> list[Path]:
    return sorted([*folder.glob("kuberay/*.yaml"), *folder.glob("ray-up/*.yaml"), *folder.glob("grafana/*.json")])


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _dump(documents: list[dict[str, Any]]) -> str:
    return _HEADER + yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
