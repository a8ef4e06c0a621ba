"""Write everything that derives from `cluster/spec.yaml`, and tell what is stale.

python -m polyglossa.pipelines.cluster_render cluster            # make manifests
python -m polyglossa.pipelines.cluster_render cluster --check    # part of make check; exit code 1 when stale
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from polyglossa import __version__
from polyglossa.pipelines.cluster_dashboard import dashboard
from polyglossa.pipelines.cluster_kuberay import manifests
from polyglossa.pipelines.cluster_spec import ClusterSpec, load_spec
from polyglossa.pipelines.cluster_vms import vm_files
from polyglossa.pipelines.command import errors_in_one_line

_HEADER = "# Rendered from cluster/spec.yaml by `make manifests`. Change the spec, not this file.\n"


class _Dumper(yaml.SafeDumper):
    """Plain YAML: no anchors, long text in blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def render(spec: ClusterSpec, version: str = __version__) -> dict[str, str]:
    """Return every derived file, path inside `cluster/` → content."""
    files = {f"kuberay/{name}": _dump(documents) for name, documents in manifests(spec, version).items()}
    files |= {f"ray-up/{name}": _dump([content]) for name, content in vm_files(spec, version).items()}
    return files | {"grafana/polyglossa.json": json.dumps(dashboard(), indent=1) + "\n"}


def write(folder: Path) -> list[Path]:
    """Render a cluster folder's spec into it; files that no longer derive from it are removed.

    Raises:
        RecipeError: the spec is missing or not valid.
    """
    files = render(load_spec(folder / "spec.yaml"))
    for path in _derived(folder):
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
    left_over = {str(path.relative_to(folder)) for path in _derived(folder)} - files.keys()
    return sorted(different | left_over)


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder that holds spec.yaml")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is stale")
    options = parser.parse_args(argv)
    with errors_in_one_line("cluster_render"):
        if not options.check:
            print(f"{len(write(options.folder))} files rendered into {options.folder}")
            return
        found = stale(options.folder)
        if found:
            sys.exit(f"{options.folder}: stale, run `make manifests`: {', '.join(found)}")


def _derived(folder: Path) -> list[Path]:
    return sorted([*folder.glob("kuberay/*.yaml"), *folder.glob("ray-up/*.yaml"), *folder.glob("grafana/*.json")])


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _dump(documents: list[dict[str, Any]]) -> str:
    return _HEADER + yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    main()
