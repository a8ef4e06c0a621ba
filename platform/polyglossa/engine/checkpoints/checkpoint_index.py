"""Index the committed checkpoints of a run. Imports no torch, because Ray's data processes read it."""

import posixpath
import re
from collections.abc import Mapping

import pyarrow.fs as pafs

from polyglossa.artifact import MARKER, exists, open_storage

_STEP = re.compile(r"step-(\d{8})$")


def step_folder(root: str, step: int) -> str:
    """Where the checkpoint after `step` updates lies."""
    return posixpath.join(root, f"step-{step:08d}")


def committed_steps(root: str) -> list[int]:
    """Steps of the checkpoints under a root, ascending."""
    return sorted(
        int(match.group(1))
        for name in files_of(root)
        if (match := _STEP.search(name)) and exists(posixpath.join(root, posixpath.basename(name), MARKER))
    )


def latest(root: str) -> int:
    """Return the step that a run resumes at: its last checkpoint's, or 0."""
    return max(committed_steps(root), default=0)


class LatestSteps:
    """Run name → the step it resumes at; picklable, so the feed asks anew for each worker group."""

    def __init__(self, roots: Mapping[str, str]) -> None:
        self._roots = dict(roots)

    def __call__(self, name: str) -> int:
        """Look in storage."""
        return latest(self._roots[name])


def files_of(uri: str) -> list[str]:
    """Paths of what lies in a folder; none where there is no folder."""
    filesystem, path = open_storage(uri)
    return [info.path for info in filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True))]
