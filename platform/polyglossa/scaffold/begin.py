"""From files and a model to a recipe: what `polyglossa init` does once it knows what is wanted.

Files are looked at, read, split and checked before anything is written; then come the folder and the recipe.
"""

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from polyglossa.errors import DataError, UserError, list_names
from polyglossa.recipe import Recipe, load_recipe
from polyglossa.recipe.load import dump_yaml, validate
from polyglossa.scaffold.base_model import DEFAULT_MODEL, BaseModel, describe_model, find_model, warnings_for
from polyglossa.scaffold.compose import compose, tokens_of
from polyglossa.scaffold.elsewhere import small_tasks
from polyglossa.scaffold.fine_tune import (
    MEMBER,
    Machine,
    Source,
    Wishes,
    choose_learning,
    compose_tuning,
    expected_seconds,
    judge_scratch_by_own,
    recipe_comment,
)
from polyglossa.scaffold.look import document_files, look
from polyglossa.scaffold.own.documents import read_passages
from polyglossa.scaffold.own.folder import SplitSource
from polyglossa.scaffold.own.prepare import join_earlier, read_earlier, said, split_source, write_folder
from polyglossa.scaffold.own.rows import OwnRows, read_own
from polyglossa.scaffold.propose import Proposal

SCRATCH = "scratch"
_SAMPLE = 400
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What a person asked for."""

    name: str
    target: Path
    """Recipe file to write; the folder of data lies beside it."""
    model: str
    """Hub name, directory, or `scratch`."""
    size: str
    """Of a model from scratch."""
    matryoshka: bool = False
    student: bool = False
    extend: Path | None = None
    """Recipe whose data and last promoted model are gone on with."""

    @property
    def folder(self) -> Path:
        """Folder of the data."""
        return self.target.with_name(f"{self.target.stem}.own")


def read_files(
    paths: Sequence[Path],
    propose: Callable[[Any], Proposal],
    write: Callable[[Sequence[str]], Path] | None = None,
) -> tuple[list[Proposal], list[str]]:
    """Look at files: what rows they are, and the documents that come without queries.

    Args:
        paths: files and folders.
        propose: says what a table is.
        write: writes questions about passages into a file, where documents come alone; None: nobody does.

    Raises:
        DataError: nothing can be read, or there are documents and nothing that asks for them.
    """
    documents = document_files(list(paths))
    tables = [path for path in paths if path not in documents]
    looks = []
    try:
        looks = look(tables) if tables else []
    except DataError:
        if not documents or any(path.is_file() for path in tables):
            raise
    passages = read_passages(documents)
    if not looks and write is not None and passages:
        looks = look([write(passages)])
    if not looks:
        suffixes = ", ".join(sorted({file.suffix for file in documents}))
        raise DataError(
            f"{list_names([*map(str, paths)])}: {len(documents):,} documents ({suffixes}) and no queries, so there is "
            "nothing to learn from or to judge by. Give a file of questions too, with the passage that answers each "
            "(from search logs, or written by hand; at least 100): the documents are then searched with them. Or let a "
            "chat endpoint write them: --endpoint http://host:8000/v1 --endpoint-model NAME."
        )
    return [propose(one) for one in looks], passages


def begin(
    wanted: Wanted, proposals: Sequence[Proposal], documents: Sequence[str], machine: Machine, tell: Tell
) -> Recipe:
    """Split the data and write its folder and the recipe.

    Args:
        wanted: what was asked for.
        proposals: what the files are.
        documents: passages that come without queries.
        machine: what the recipe will run on.
        tell: takes lines for the person.

    Raises:
        UserError: something is there already, the model cannot be had, or the data cannot be judged by.
    """
    for path in (wanted.target, wanted.folder):
        if path.exists():
            raise UserError(f"{path}: is there already; give another name with `--out`.")
    model = _model(wanted)
    if model is not None and wanted.extend is None and wanted.model == DEFAULT_MODEL:
        tell(f"model: {DEFAULT_MODEL}, small and for 50 languages; name another with `--model`.")
    split = [split_source(rows, fixed) for rows, fixed in _rows(wanted, proposals)]
    if model is not None:
        for warning in warnings_for(model, _texts_by_language(split)):
            tell(f"note: {warning}")
    account = write_folder(split, wanted.folder, documents)
    try:
        sources = [_source(one, account["sources"][one.rows.name], model) for one in split]
        text = _recipe_text(wanted, sources, model, proposals, machine, tell)
        wanted.target.parent.mkdir(parents=True, exist_ok=True)
        wanted.target.write_text(text, encoding="utf-8")
    except BaseException:
        shutil.rmtree(wanted.folder, ignore_errors=True)
        wanted.target.unlink(missing_ok=True)
        raise
    for line in said(account):
        tell(line)
    return load_recipe(wanted.target)


def _model(wanted: Wanted) -> BaseModel | None:
    """Find the model to start from; None starts from scratch."""
    if wanted.extend is not None:
        return _promoted(wanted.extend)
    return None if wanted.model == SCRATCH else find_model(wanted.model)


def _promoted(path: Path) -> BaseModel:
    """Describe the model that an earlier recipe's alias names.

    Raises:
        UserError: none was promoted yet.
    """
    from polyglossa.pipeline.promotion import read_promotions

    recipe = load_recipe(path)
    entry = read_promotions(recipe).get(recipe.name)
    if entry is None:
        raise UserError(
            f"--extend {path}: no model of {recipe.name} was promoted yet; run `polyglossa run {path}` first. A run "
            "promotes its model where it is better than the one it started from."
        )
    return describe_model(f"{recipe.name}, promoted", entry["model"], Path(entry["model"]))


def _rows(wanted: Wanted, proposals: Sequence[Proposal]) -> list[tuple[OwnRows, frozenset[str]]]:
    read = [read_own(proposal) for proposal in proposals]
    if wanted.extend is None:
        return [(rows, frozenset()) for rows in read]
    recipe = load_recipe(wanted.extend)
    if recipe.own is None:
        raise UserError(f"--extend {wanted.extend}: has no section `own`, so it holds nothing out to go on with.")
    earlier = read_earlier(Path(recipe.own.folder))
    return [(rows, earlier.heldout) for rows in join_earlier(read, earlier)]


def _texts_by_language(split: Sequence[SplitSource]) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for source in split:
        for text, language in zip(source.rows.table["query"].to_pylist(), source.languages, strict=True):
            if len(found[language]) < _SAMPLE:
                found[language].append(text)
    return {language: texts for language, texts in found.items() if len(texts) >= 20}


def _source(one: SplitSource, told: Mapping[str, Any], model: BaseModel | None) -> Source:
    table = one.rows.table.slice(0, _SAMPLE)
    queries = table["query"].to_pylist()
    answers = [text for found in table["positives"].to_pylist() for text in found or ()] or queries
    count = _counter(model)
    return Source(
        name=one.rows.name,
        kind=one.rows.kind,
        training_rows=told["training_rows"],
        training_queries=told["queries"]["train"],
        documents=told["documents"],
        heldout=told["queries"]["heldout"],
        query_tokens=fmean(map(count, queries)),
        document_tokens=fmean(map(count, answers)),
        language=next(iter(told["languages"])),
        is_code=one.rows.is_code,
    )


def _counter(model: BaseModel | None) -> Callable[[str], float]:
    if model is None:
        return lambda text: tokens_of(len(text), text)
    from polyglossa.model.tokenizer_folder import load_directory_tokenizer

    tokenizer = load_directory_tokenizer(str(model.folder))
    return lambda text: float(min(model.longest, len(tokenizer(text, verbose=False).input_ids)))


def _recipe_text(
    wanted: Wanted,
    sources: Sequence[Source],
    model: BaseModel | None,
    proposals: Sequence[Proposal],
    machine: Machine,
    tell: Tell,
) -> str:
    folder = Path(os.path.relpath(wanted.folder))
    folder = wanted.folder.resolve() if str(folder).startswith("..") else folder
    if model is None:
        data = judge_scratch_by_own(compose(wanted.name, proposals, size=wanted.size), folder, sources)
        validate(Recipe, data, str(wanted.target))
        return f"# Written by `polyglossa init`; every key is documented in jobs/recipes/README.md.\n{dump_yaml(data)}"
    learning = choose_learning(sources, model, machine)
    tasks = small_tasks(model.is_english)
    data = compose_tuning(
        wanted.name, folder, sources, model, learning, Wishes(wanted.matryoshka, wanted.student, tasks)
    )
    if wanted.extend is not None:
        earlier = load_recipe(wanted.extend)
        data["name"], data["storage"] = earlier.name, earlier.storage
        data["serve"]["aliases"] = {earlier.name: MEMBER}
    validate(Recipe, data, str(wanted.target))
    minutes = expected_seconds(sources, model, learning, machine) / 60
    tell(
        f"{model.short_name}: {model.parameters / 1e6:,.1f} M parameters, width {model.width}, texts up to "
        f"{model.longest} tokens. {learning.steps} steps of {learning.batch} pairs at rate {learning.rate:g}"
        f"{', low-rank additions' if learning.lora else ''}; about {minutes:,.0f} minutes on "
        f"{'a GPU' if machine.on_gpu else f'{machine.cores} cores'}."
    )
    return recipe_comment(learning, machine, {}) + dump_yaml(data)
