"""Write the index of a pack: its sources, files, and the size of every bundle; a plan is made from it alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from polyglossa.artifact import Draft
from polyglossa.engine.tokenizers import load_stored_tokenizer
from polyglossa.pack.layout import Job
from polyglossa.recipe.sections.pack import PackConfig

IN_BATCH_TASKS = ("retrieval", "bitext")


def write_index(
    config: PackConfig, jobs: Sequence[Job], results: Sequence[Mapping[str, Any]], model_uri: str | None, draft: Draft
) -> None:
    """Write `index.json` and record the counts.

    Args:
        config: which rows, how they are rendered and cut.
        jobs: the files.
        results: figures of each file, with those of its part (`pairs`, `pairs_without_positive`, instructions).
        model_uri: model directory whose tokenizer packed; None for texts.
        draft: the artifact in the making.
    """
    sources: dict[str, dict[str, Any]] = {}
    for job, result in zip(jobs, results, strict=True):
        entry = sources.setdefault(job.source, _empty_entry(job))
        entry[job.part] += result["bundles"]
        files = entry["files" if job.part == "bundles" else "validation_files"]
        files.append({"path": job.path, "bundles": len(result["bundles"])})
        if job.part == "bundles":
            entry["examples"] += sum(bundle["examples"] for bundle in result["bundles"])
            if job.shard == 0:  # every shard knows the whole source's
                entry |= {name: result[name] for name in ("instructions", "document_instructions")}
            entry["negatives"] += result["negatives"]
    sizes = [bundle for result in results for bundle in result["bundles"]]
    totals = {name: sum(size[name] for size in sizes) for name in ("examples", "texts", "tokens")}
    lost = {name: sum(result[name] for result in results) for name in ("tokens_cut", "texts_cut")}
    share = lost["tokens_cut"] / max(1, totals["tokens"] + lost["tokens_cut"])
    index = {
        "sources": list(sources.values()),
        "max_tokens": config.max_tokens,
        "tokenizer": None if model_uri is None else _fingerprint(model_uri),
        "truncated_share": share,
    }
    draft.write_json(index, "index.json")
    first = [result for job, result in zip(jobs, results, strict=True) if job.shard == 0]
    pairs = {name: sum(result[name] for result in first) for name in ("pairs", "pairs_without_positive")}
    draft.count(**pairs, **totals, **lost, bundles=len(sizes), truncated_share=share)


def _empty_entry(job: Job) -> dict[str, Any]:
    return {
        "name": job.source,
        "task": job.task,
        "in_batch": job.task in IN_BATCH_TASKS,
        "instructions": {},
        "document_instructions": {},
        "examples": 0,
        "negatives": 0,
        "files": [],
        "bundles": [],
        "validation_files": [],
        "validation": [],
    }


def _fingerprint(model_uri: str) -> str:
    from polyglossa.model.tokenizer_folder import tokenizer_fingerprint  # transformers

    return tokenizer_fingerprint(load_stored_tokenizer(model_uri))
