"""Plan an evaluation as shares that workers take, the most expensive first. Pure but for reading tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from polyglossa.artifact import Artifact
from polyglossa.errors import DataError, UserError
from polyglossa.evaluate.tasks.file_lists import files_of, survey_local
from polyglossa.evaluate.tasks.heldout import HeldoutSet, read_heldout
from polyglossa.evaluate.tasks.tables import locate, revision_of
from polyglossa.readers.files import list_files
from polyglossa.recipe.sections.evaluate import EvaluateConfig, LocalTask

_LEAST_ROWS = 64  # a share below this costs more to start than to judge


@dataclass(frozen=True)
class Share:
    """Some subsets of one task: the unit that a worker judges."""

    task: str
    rows: int
    """Texts of it, roughly: its weight in the order of work and in the progress."""
    heldout: HeldoutSet | None = None
    local: LocalTask | None = None
    """Neither of the two: a task of mteb, by its name."""
    subsets: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlannedTask:
    """A task and its shares; or, with `reason`, why it cannot be judged."""

    name: str
    revision: str = ""
    """Changes with the task's data."""
    shares: tuple[Share, ...] = ()
    instruction: str | None = None
    search: bool = True
    """Whether documents stay bare when queries get an instruction."""
    metric: str | None = None
    """How the recipe calls the main score, where it does."""
    reason: str | None = None
    notices: tuple[str, ...] = ()
    """What to know of its data beside the score."""
    benchmarks: tuple[str, ...] = ()
    """Whole mteb benchmarks that it belongs to and that were asked for."""
    prompts: Mapping[str, str] | None = None
    """Prefix of its texts by mteb's names, where the model is judged as another; None: the model's own ways count."""
    own_prompt: bool = True
    """Whether that other model has an instruction for this very task, rather than for its kind."""


def plan_heldout(config: EvaluateConfig, corpus: Artifact, most_shares: int) -> list[PlannedTask]:
    """Plan the held-out sets of a corpus.

    Raises:
        DataError: the recipe names a set that the corpus does not hold: that is its mistake, not the task's.
    """
    planned = []
    for name in config.heldout:
        heldout = read_heldout(corpus, name)
        sizes = _sizes(heldout)
        shares = tuple(
            Share(name, sum(sizes[subset] for subset in group), heldout.restricted_to(group), None, group)
            for group in _group(sizes, most_shares)
        )
        planned.append(
            PlannedTask(name, heldout.revision, shares, heldout.instruction, search=True, metric=heldout.metric)
        )
    return planned


def plan_local(config: EvaluateConfig, most_shares: int) -> list[PlannedTask]:
    """Plan the tasks from files; one whose files cannot be used is planned with its reason."""
    return [_plan_local(place_paths(task, config.data), most_shares) for task in config.local]


def _plan_local(task: LocalTask, most_shares: int) -> PlannedTask:
    plan = PlannedTask(task.name, instruction=task.instruction, search=task.kind == "retrieval")
    try:
        survey = survey_local(task)
        sizes = survey.rows
        if not sizes:
            return replace(plan, reason=f"{task.path}: holds no rows.")
        groups = _group(sizes, most_shares)
        shares = tuple(Share(task.name, sum(sizes[name] for name in group), None, task, group) for group in groups)
        return replace(plan, revision=revision_of(files_of(task)), shares=shares, notices=survey.notices)
    except UserError as error:
        return replace(plan, reason=str(error))


def unreadable_tasks(config: EvaluateConfig) -> dict[str, str]:
    """Name the tasks whose files are not there, with the reason. Lists files, reads none.

    Raises:
        DataError: there is no other task, so that nothing could be judged.
    """
    found: dict[str, str] = {}
    for task in config.local:
        try:
            for path in files_of(place_paths(task, config.data)):
                list_files((path,))
        except (UserError, OSError) as error:
            found[task.name] = " ".join(str(error).split())
    if found and len(found) == len(config.local) and not (config.heldout or config.tasks or config.benchmarks):
        name, reason = next(iter(found.items()))
        raise DataError(f"evaluate: nothing could be judged: {name}: {reason}")
    return found


def place_paths(task: LocalTask, data: str) -> LocalTask:
    """Put the relative paths of a task under a folder."""
    paths = {key: locate(data, path) for key in ("path", "train") if (path := getattr(task, key, None)) is not None}
    return type(task).model_validate({**task.model_dump(), **paths})


def files_fingerprint(tasks: Sequence[LocalTask], data: str) -> str | None:
    """Hash the files of local tasks: other content is another result. None where there is no such task.

    Files that cannot be read count by name: their task says so when it is judged.
    """
    revisions = []
    for task in tasks:
        there = place_paths(task, data)
        try:
            revisions.append(revision_of(files_of(there)))
        except (UserError, OSError):
            revisions.append(f"unreadable: {there.path}")
    return " ".join(revisions) or None


def in_order(planned: Sequence[PlannedTask]) -> list[Share]:
    """All shares, the most expensive first: what is left for the end is small, so workers end together."""
    shares = [share for task in planned for share in task.shares]
    return sorted(shares, key=lambda share: (-share.rows, share.task, share.subsets))


def _sizes(heldout: HeldoutSet) -> dict[str, int]:
    counts = heldout.queries.group_by("language").aggregate([("language", "count")])
    sizes = zip(counts["language"].to_pylist(), counts["language_count"].to_pylist(), strict=True)
    return dict(sorted(sizes))


def _group(sizes: Mapping[str, int], most: int) -> Iterator[tuple[str, ...]]:
    """Cut subsets into at most so many groups of about equal size; small tasks stay whole."""
    count = max(1, min(most, len(sizes), sum(sizes.values()) // _LEAST_ROWS))
    names = list(sizes)
    for start in range(count):
        yield tuple(names[start::count])
