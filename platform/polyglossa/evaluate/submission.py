"""An evaluation as the leaderboard's repository takes it, read back by mteb's own loader.

`results/ORGANISATION__MODEL/REVISION/TASK.json` beside a `model_meta.json`, as in `embeddings-benchmark/results`. Only
tasks that mteb itself knows go there; a recipe's own tasks stay behind, by name.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyglossa.artifact import MANIFEST, exists, open_artifact
from polyglossa.errors import DataError, UserError
from polyglossa.storage import local_folder

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_REVISION = re.compile(r"[0-9a-f]{40}")
_META = "model_meta.json"


@dataclass(frozen=True)
class Submission:
    """What was prepared."""

    folder: Path
    tasks: list[str]
    left_out: dict[str, str]
    """Task → why it stays behind."""


def prepare_submission(evaluation: str, out: str, *, name: str, revision: str) -> Submission:
    """Write an evaluation's results as the leaderboard's repository holds them, and load them with mteb.

    Args:
        evaluation: the artifact that `polyglossa evaluate` wrote.
        out: folder that gets `results/…`; a checkout of the repository, or a new one.
        name: of the model on the hub, ORGANISATION/MODEL.
        revision: the hub's commit that was judged, 40 hex digits.

    Raises:
        UserError: a name or revision that the repository would refuse, or results that are there already.
        DataError: there is no evaluation, none of its tasks is mteb's, or mteb does not load what was written.
    """
    _check_address(name, revision)
    target = Path(out) / "results" / name.replace("/", "__") / revision
    if target.exists():
        raise UserError(f"{target}: holds results already; remove them, or name another revision.")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "results" / name.replace("/", "__") / revision
        folder.mkdir(parents=True)
        kept, left_out = [], {}
        meta: dict[str, Any] = {}
        for file, value in _results(evaluation):
            if file == _META:
                meta = dict(value)
                continue
            reason = _unfit(value)
            if reason is not None:
                left_out[file.removesuffix(".json")] = reason
                continue
            _write(folder / file, value)
            kept.append(file.removesuffix(".json"))
        if not kept:
            told = "; ".join(f"{task} ({why})" for task, why in list(left_out.items())[:3])
            raise DataError(f"{evaluation}: none of its tasks is the leaderboard's: {told}.")
        _write(folder / _META, {**meta, "name": name, "revision": revision})
        _load(Path(place), name, revision, kept)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder, target)
    return Submission(target, sorted(kept), left_out)


def read_results(evaluation: str) -> list[dict[str, Any]]:
    """Results of an evaluation's mteb tasks, with what a card says of each: task type, data set, metric.

    Raises:
        DataError: there is no evaluation.
    """
    import mteb

    found = []
    for file, value in _results(evaluation):
        if file == _META or _unfit(value) is not None:
            continue
        about = mteb.get_task(value["task_name"]).metadata
        plain = {"task_type": about.type, "dataset": about.dataset["path"], "metric": about.main_score}
        found.append({**value, **plain})
    return found


def _check_address(name: str, revision: str) -> None:
    if not _NAME.fullmatch(name):
        raise UserError(f"--name {name}: write ORGANISATION/MODEL, as on the hub.")
    if not _REVISION.fullmatch(revision):
        raise UserError(f"--revision {revision}: give the hub's commit of the judged model, 40 hex digits.")


def _results(evaluation: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the files of an evaluation's results with their content."""
    if not exists(f"{evaluation.rstrip('/')}/{MANIFEST}"):
        raise DataError(f"{evaluation}: no evaluation (an artifact of `polyglossa evaluate`, with {MANIFEST}).")
    done = open_artifact(evaluation.rstrip("/"))
    if not exists(done.at("results")):
        raise DataError(f"{evaluation}: an artifact of {done.manifest['stage']}, without results.")
    with local_folder(done.at("results")) as folder:
        for file in sorted(Path(folder).rglob("*.json")):
            yield file.name, json.loads(file.read_text(encoding="utf-8"))


def _unfit(result: Mapping[str, Any]) -> str | None:
    """Say why a result is not the leaderboard's; None where it is."""
    import mteb

    try:
        about = mteb.get_task(result["task_name"]).metadata
    except KeyError:
        return "not a task of mteb"
    if result["dataset_revision"] != about.dataset["revision"]:
        return f"judged on revision {result['dataset_revision']}, and mteb's is {about.dataset['revision']}"
    missing = set(about.eval_splits) - set(result["scores"])
    return f"lacks the split {min(missing)}" if missing else None


def _write(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _load(root: Path, name: str, revision: str, tasks: list[str]) -> None:
    """Load what was written as the leaderboard does.

    Raises:
        DataError: mteb does not, or finds something else.
    """
    import mteb

    try:
        mteb.models.ModelMeta.model_validate_json(
            (root / "results" / name.replace("/", "__") / revision / _META).read_text(encoding="utf-8")
        )
        loaded = mteb.ResultCache(root).load_results(
            tasks=[mteb.get_task(task) for task in tasks], include_remote=False, validate_and_filter=True
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"{name}: mteb does not load these results ({reason}).") from None
    found = {(one.model_name, one.model_revision): sorted(one.task_names) for one in loaded.model_results}
    if found != {(name, revision): sorted(tasks)}:
        raise DataError(f"{name}: mteb loads {found or 'nothing'} of what was written.")
