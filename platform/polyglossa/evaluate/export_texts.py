"""Texts of evaluation tasks for decontamination: an artifact with `texts/<task>/*.parquet`, which the corpus reads.

A stage of its own, `evaluation_texts`: it runs where the pipeline runs, as it reads data and computes nothing.
"""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from polyglossa.artifact import Artifact, Draft, open_storage
from polyglossa.evaluate.plan import files_fingerprint, place_paths
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.evaluate import EvaluationTextsConfig

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
    from polyglossa.evaluate.tasks.task_texts import load_texts  # mteb, which working out the key does without

    tasks = [*config.tasks, *(place_paths(task, config.data) for task in config.local)]
    counts = {}
    for task in tasks:
        name, texts = load_texts(task)
        filesystem, path = open_storage(draft.at("texts", name, "part-00000.parquet"))
        table = pa.table({"text": pa.array(texts, pa.string())})
        pq.write_table(table, path, filesystem=filesystem, compression="zstd")
        counts[name] = len(texts)
    draft.count(texts=sum(counts.values()), tasks=counts)
