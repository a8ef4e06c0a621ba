"""Tasks from files as mteb tasks: BEIR directories, labelled text, bitext tables and scored pairs; all offline."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from datasets import Dataset, DatasetDict
from mteb.abstasks.classification import AbsTaskClassification
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.sts import AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.abstasks.text.bitext_mining import AbsTaskBitextMining

from polyglossa.errors import DataError
from polyglossa.evaluate.scoring.summary import SPLIT
from polyglossa.evaluate.tasks.file_lists import files_of, read_documents, read_queries, read_relevance, read_rows
from polyglossa.evaluate.tasks.tables import revision_of, subset_names
from polyglossa.recipe.sections.evaluate import BitextTask, ClassificationTask, LocalTask, RetrievalTask, StsTask

_TYPES = {
    "retrieval": ("Retrieval", "ndcg_at_10"),
    "classification": ("Classification", "accuracy"),
    "bitext": ("BitextMining", "f1"),
    "sts": ("STS", "cosine_spearman"),
}


def build_local(task: LocalTask, subsets: Sequence[str]) -> Any:
    """Make the mteb task of some subsets of a local task.

    Raises:
        DataError: a file is missing, lacks a column, or holds nothing to judge.
    """
    files = files_of(task)
    makers: Mapping[str, Any] = {
        "retrieval": (AbsTaskRetrieval, _retrieval),
        "classification": (AbsTaskClassification, _classification),
        "bitext": (AbsTaskBitextMining, _bitext),
        "sts": (AbsTaskSTS, _sts),
    }
    base, load = makers[task.kind]
    attributes: dict[str, Any] = {"metadata": _metadata(task, subsets, revision_of(files))}
    if isinstance(task, ClassificationTask):
        attributes |= {"samples_per_label": task.samples_per_label, "n_experiments": task.experiments}
    if isinstance(task, StsTask):
        scores = pc.min_max(read_rows(task, task.path).table[task.score]).as_py()
        attributes |= {"min_score": scores["min"], "max_score": max(scores["max"], scores["min"] + 1)}

    def load_data(self: Any, num_proc: int | None = None, **_: Any) -> None:
        if not self.data_loaded:
            self.dataset = load(task, files, list(self.hf_subsets))
            self.data_loaded = True

    return type(f"Local{base.__name__}", (base,), {**attributes, "load_data": load_data})()


def _metadata(task: LocalTask, subsets: Sequence[str], revision: str) -> TaskMetadata:
    kind, metric = _TYPES[task.kind]
    return TaskMetadata(
        name=task.name,
        description=f"{kind} from {task.path}",
        dataset={"path": task.path, "revision": revision},
        type=kind,
        category="t2c" if task.kind == "classification" else "t2t",
        eval_splits=[SPLIT],
        eval_langs={name: _languages(task, name) for name in subsets},
        main_score=metric,
        license=None,
    )


def _languages(task: LocalTask, subset: str) -> list[str]:
    parts = subset.split("_")
    named = len(parts) == 2 and len(parts[0]) == 3 and len(parts[1]) == 4
    own = f"{parts[0]}-{parts[1]}" if named else task.language
    return [own, task.pivot.replace("_", "-")] if isinstance(task, BitextTask) else [own]


def _parts(table: pa.Table, columns: Sequence[str], subsets: Sequence[str]) -> dict[str, pa.Table]:
    names = subset_names(table, columns)
    return {name: table.filter(pc.equal(names, name)) for name in subsets}


def _retrieval(task: RetrievalTask, files: list[str], subsets: list[str]) -> dict[str, Any]:
    queries, corpus = read_queries(task, files[0]).table, read_documents(task, files[1]).table
    relevant, _ = read_relevance(files[2])
    asked = _parts(queries, task.subset_columns, subsets)
    shared = not any(column in corpus.column_names for column in task.subset_columns)
    searched = dict.fromkeys(subsets, corpus) if shared else _parts(corpus, task.subset_columns, subsets)
    return {name: {SPLIT: _search(task, name, asked[name], searched[name], relevant)} for name in subsets}


def _search(
    task: RetrievalTask, subset: str, queries: pa.Table, corpus: pa.Table, relevant: Mapping[str, dict[str, int]]
) -> dict[str, Any]:
    ids = queries["id"].to_pylist()
    known = {query: relevant[query] for query in ids if relevant.get(query)}
    if not known or not len(corpus):
        raise DataError(
            f"{task.path}: subset {subset!r} has {len(known)} judged queries and {len(corpus)} documents; "
            "a search needs both."
        )
    kept = pc.is_in(queries["id"], pa.array(list(known), pa.string()))
    columns = [name for name in ("id", "title", "text") if name in corpus.column_names]
    return {
        "queries": Dataset(queries.filter(kept).select(["id", "text"])),
        # Named here, or datasets would pickle the whole table to name it.
        "corpus": Dataset(corpus.select(columns), fingerprint=uuid4().hex),
        "relevant_docs": known,
        "top_ranked": None,
    }


def _classification(task: ClassificationTask, files: list[str], subsets: list[str]) -> dict[str, Any]:
    test = read_rows(task, files[0]).table
    if task.train is None:
        fits = pa.array([xxhash.xxh3_64_intdigest(text.encode()) % 2 == 0 for text in test[task.text].to_pylist()])
        train, test = test.filter(fits), test.filter(pc.invert(fits))
    else:
        train = read_rows(task, files[1]).table
    fitted, tested = (_parts(table, task.subset_columns, subsets) for table in (train, test))
    return {name: _labelled_dataset(task, name, fitted[name], tested[name]) for name in subsets}


def _labelled_dataset(task: ClassificationTask, subset: str, train: pa.Table, test: pa.Table) -> DatasetDict:
    labels = sorted(set(train[task.label].to_pylist()))
    number = {label: index for index, label in enumerate(labels)}
    known = pc.is_in(test[task.label], pa.array(labels, pa.string()))
    parts = {"train": train, SPLIT: test.filter(known)}
    if len(labels) < 2 or not len(parts[SPLIT]):
        raise DataError(f"{task.path}: subset {subset!r} has {len(labels)} labels and {len(parts[SPLIT])} test rows.")
    return DatasetDict(
        {
            split: Dataset.from_dict(
                {
                    "text": part[task.text].to_pylist(),
                    "label": [number[label] for label in part[task.label].to_pylist()],
                }
            )
            for split, part in parts.items()
        }
    )


def _bitext(task: BitextTask, files: list[str], subsets: list[str]) -> dict[str, Any]:
    table = read_rows(task, files[0]).table
    parts = _parts(table, task.subset_columns, [*subsets, task.pivot])
    pivot = dict(zip(parts[task.pivot][task.id].to_pylist(), parts[task.pivot][task.text].to_pylist(), strict=True))
    pairs = {}
    for name in subsets:
        rows = zip(parts[name][task.id].to_pylist(), parts[name][task.text].to_pylist(), strict=True)
        both = [(text, pivot[key]) for key, text in rows if key in pivot]
        if not both:
            raise DataError(f"{task.path}: {name!r} and the pivot {task.pivot!r} share no {task.id}.")
        pairs[name] = {SPLIT: Dataset.from_dict({"sentence1": [a for a, _ in both], "sentence2": [b for _, b in both]})}
    return pairs


def _sts(task: StsTask, files: list[str], subsets: list[str]) -> dict[str, Any]:
    parts = _parts(read_rows(task, files[0]).table, task.subset_columns, subsets)
    return {
        name: {
            SPLIT: Dataset.from_dict(
                {
                    "sentence1": part[task.sentence1].to_pylist(),
                    "sentence2": part[task.sentence2].to_pylist(),
                    "score": part[task.score].to_pylist(),
                }
            )
        }
        for name, part in parts.items()
    }
