"""Texts of evaluation tasks for decontamination: an artifact with `texts/<task>/*.parquet`, which the corpus reads.

A stage of its own, `evaluation_texts`: it runs where the pipeline runs, as it reads data and computes nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import mteb
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict

from polyglossa.artifact import Artifact, Draft, open_storage
from polyglossa.evaluate.plan import files_fingerprint, place_paths
from polyglossa.evaluate.tasks.file_lists import rows_by_subset
from polyglossa.evaluate.tasks.from_files import build_local
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.evaluate import EvaluationTextsConfig, LocalTask

STAGE = "evaluation_texts"
REVISION = 2


def run(config: EvaluationTextsConfig, inputs: Mapping[str, Artifact], draft: Draft, placement: StagePlacement) -> None:
    """Run the stage; it needs no other artifact and no placement."""
    export_texts(config, draft)


def input_fingerprint(config: EvaluationTextsConfig) -> str | None:
    """Hash the files of the local tasks, for the artifact's key."""
    return files_fingerprint(config.local, config.data)


def export_texts(config: EvaluationTextsConfig, draft: Draft) -> None:
    """Write every text of local and named tasks that a model is judged by.

    Args:
        config: which tasks; held-out sets are kept apart by the corpus itself.
        draft: takes `texts/<task>/part-00000.parquet` with one column `text`.
    """
    tasks: list[tuple[str, Any]] = [(name, mteb.get_task(name)) for name in config.tasks]
    tasks += [(task.name, _whole(place_paths(task, config.data))) for task in config.local]
    counts = {}
    for name, task in tasks:
        task.load_data()
        texts = sorted(set(texts_of(task.dataset)))
        filesystem, path = open_storage(draft.at("texts", name, "part-00000.parquet"))
        table = pa.table({"text": pa.array(texts, pa.string())})
        pq.write_table(table, path, filesystem=filesystem, compression="zstd")
        counts[name] = len(texts)
        task.unload_data()
    draft.count(texts=sum(counts.values()), tasks=counts)


def texts_of(data: Any) -> Iterator[str]:
    """Yield every text of mteb's data, however it is nested; ids, labels and training splits are not texts."""
    if isinstance(data, Dataset):
        for column, feature in data.features.items():
            if getattr(feature, "dtype", None) == "string" and column not in ("id", "label", "_id", "lang"):
                yield from (text for text in data[column][:] if text)
    elif isinstance(data, DatasetDict | Mapping):
        yield from _texts_of_parts(
            (part for name, part in data.items() if name not in ("train", "relevant_docs", "top_ranked"))
        )


def _texts_of_parts(parts: Iterable[Any]) -> Iterator[str]:
    for part in parts:
        yield from texts_of(part)


def _whole(task: LocalTask) -> Any:
    return build_local(task, list(rows_by_subset(task)))
