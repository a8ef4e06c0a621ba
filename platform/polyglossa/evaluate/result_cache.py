"""Cache task results: a task is evaluated again only if the model, the task, its prompts or mteb changed.

One JSON file per task under `<root>/evaluations/<fingerprint>/`, written whole or not at all. Each holds the
fingerprint that it was made with: of a directory the hash of what it holds, of an endpoint that of its answers to a
panel.
"""

import hashlib
import json
import posixpath
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from polyglossa.artifact import exists, place_json, read_json
from polyglossa.evaluate.scoring.task_result import TaskResult

REVISION = 2  # of what a verdict holds


class ResultCache:
    """Verdicts on one model."""

    def __init__(self, root: str | None, fingerprint: str) -> None:
        """Open the cache.

        Args:
            root: storage root; None keeps nothing.
            fingerprint: names all that shapes the model's states.
        """
        self._folder = posixpath.join(root, "evaluations", fingerprint) if root else None
        self._fingerprint = fingerprint

    def get(self, key: str) -> TaskResult | None:
        """Return a verdict, if it is there and was made with this very model."""
        if self._folder is None or not exists(self._file(key)):
            return None
        kept = read_json(self._file(key))
        return TaskResult.of(kept["verdict"]) if kept.get("fingerprint") == self._fingerprint else None

    def put(self, key: str, task_result: TaskResult) -> None:
        """Keep a verdict; a failure is not kept, so that the task is tried again."""
        if self._folder is None or task_result.reason is not None:
            return
        place_json(self._file(key), {"fingerprint": self._fingerprint, "verdict": task_result.plain()})

    def _file(self, key: str) -> str:
        return f"{self._folder}/{key}.json"


def result_key(
    task: str, revision: str, prompts: Mapping[str, str], widths: tuple[int, ...], settings: Mapping[str, Any]
) -> str:
    """Name a verdict by all that shapes it besides the model's states.

    Args:
        task: name of the task.
        revision: of its data.
        prompts: prompts that its texts may get: a changed prompt is another result.
        widths: widths that are scored.
        settings: other settings of the task (subsets, classifiers …).
    """
    libraries = {"mteb": version("mteb"), "scikit-learn": version("scikit-learn"), "revision": REVISION}
    shape = [task, revision, sorted(prompts.items()), list(widths), settings, libraries]
    digest = hashlib.sha256(json.dumps(shape, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:24]
    return f"{''.join(c if c.isalnum() else '-' for c in task)}-{digest}"
