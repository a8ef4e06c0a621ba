"""The pack stage: every source's training and validation rows as token bundles, packed in parallel on Ray.

    run(PackConfig.of(stage), {"corpus": …, "backbone": …, "mine": …}, draft, profile.pack)

Layout: `bundles/<source>.parquet` and `validation/<source>.parquet`, one row group per bundle (a source of more than
half a million pairs goes on in `<source>.00001.parquet` …), and `index.json` with every bundle's size, so that a plan
is made without reading data. A pack of texts, for teachers from outside, is the same without a tokenizer.
"""

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import ray

from polyglossa.artifact import Artifact, Draft, open_storage
from polyglossa.engine.tokenizers import load_stored_tokenizer
from polyglossa.errors import DataError
from polyglossa.model.encoder import tokenizer_fingerprint
from polyglossa.model.instructions import pinned_prompts
from polyglossa.model.sentence_modules import read_modules
from polyglossa.pack.bundling import Packed, pack_bundles, pack_texts
from polyglossa.pack.documents import Documents
from polyglossa.pack.examples import Examples, shuffle_examples
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.pack import PackConfig
from polyglossa.runtime.console import track
from polyglossa.storage import local_folder

STAGE = "pack"
REVISION = 2

_PARTS = {"bundles": "train", "validation": "validation"}
IN_BATCH_TASKS = ("retrieval", "bitext")
_FILE_PAIRS = 524_288  # a Parquet footer grows with its row groups: about 2,000 bundles a file


@dataclass(frozen=True)
class Job:
    """What one task packs into one file."""

    source: str
    task: str
    part: str
    """`bundles` or `validation`."""
    pairs_uri: str
    shard: int
    shards: int

    @property
    def path(self) -> str:
        """Where the file lies inside the artifact."""
        number = f".{self.shard:05d}" if self.shard else ""
        return f"{self.part}/{self.source}{number}.parquet"


def run(config: PackConfig, inputs: Mapping[str, Artifact], draft: Draft, placement: StagePlacement) -> None:
    """Make the pack artifact.

    Args:
        config: which rows, how they are rendered and cut.
        inputs: `corpus` (documents, pairs), `backbone` (tokenizer; not for texts) and, for mined negatives, `mine`
            (pairs).
        draft: where it is written.
        placement: CPUs of a task.
    """
    jobs = plan_files(config, inputs)
    for job in jobs:
        draft.at(job.path)
    documents = ray.put(read_documents(inputs["corpus"]))
    model_uri = None if config.texts else inputs["backbone"].at("model")
    task = ray.remote(num_cpus=placement.cpus)(pack_file)
    pending = [task.remote(job, config, documents, model_uri, draft.at(job.path)) for job in jobs]
    number = {reference: i for i, reference in enumerate(pending)}
    results: list[dict[str, Any]] = [{} for _ in jobs]
    with track("pack", total=len(jobs), unit="files") as bar:
        while pending:
            (ready,), pending = ray.wait(pending)
            results[number[ready]] = ray.get(ready)
            bar.advance(1)
    _write_index(config, jobs, results, model_uri, draft)


def pack_file(job: Job, config: PackConfig, documents: pa.Table, model_uri: str | None, uri: str) -> dict[str, Any]:
    """Pack one shard of one source into one file; returns its figures for the index."""
    pairs = _read(job.pairs_uri, _PARTS[job.part])
    examples = shuffle_examples(
        pairs,
        source=job.source,
        negatives=config.hard_negatives,
        instructions=config.instructions,
        seed=config.seed,
    )
    # Shuffled by hash, so the first ones are a fair sample.
    examples = examples.slice(0, _most(config, job.part) or len(examples))
    bundles = -(-len(examples) // config.bundle_rows)
    first, last = (bundles * (job.shard + i) // job.shards for i in (0, 1))
    packed = _packed(
        job, config, examples.slice(first * config.bundle_rows, last * config.bundle_rows), documents, model_uri, first
    )
    without_positive = int(np.sum(np.diff(pairs["positive_ids"].combine_chunks().offsets) == 0)) if len(pairs) else 0
    said = {
        "instructions": _count(examples.instruction),
        "document_instructions": _count(examples.document_instruction),
    }
    return _write_bundles(packed, uri) | said | {"pairs": len(pairs), "pairs_without_positive": without_positive}


def _packed(
    job: Job, config: PackConfig, examples: Examples, documents: pa.Table, model_uri: str | None, first: int
) -> Iterator[Packed]:
    """Bundle a shard's examples: as tokens, or as texts where no tokenizer is given."""
    bundling: dict[str, Any] = {"source": job.source, "bundle_rows": config.bundle_rows, "first_bundle": first}
    if model_uri is None:
        return pack_texts(examples, Documents(documents), **bundling)
    tokenizer = load_stored_tokenizer(model_uri).backend_tokenizer
    prompts = pinned_prompts(_prompts(model_uri)) if config.prompts is not None else ("", "")
    return pack_bundles(
        examples,
        Documents(documents),
        tokenizer,
        task=job.task,
        max_tokens=config.max_tokens,
        prompts=prompts,
        scores=config.scores,
        **bundling,
    )


def _prompts(model_uri: str) -> dict[str, str]:
    """Prompts that a model directory pins."""
    with local_folder(model_uri, weights=False) as folder:
        return dict(read_modules(folder).prompts)


def _count(instructions: pa.Array) -> dict[str, int]:
    """Count the examples of each instruction; those without one are left out."""
    counted = instructions.drop_null().value_counts().to_pylist()
    return {entry["values"]: entry["counts"] for entry in counted if entry["values"]}


def _most(config: PackConfig, part: str) -> int | None:
    """Most examples of a source in a part; validation is never capped."""
    return config.max_examples if part == "bundles" else None


def read_documents(corpus: Artifact) -> pa.Table:
    """Read the corpus's documents, ready to be looked up (`Documents`)."""
    filesystem, path = open_storage(corpus.at("documents"))
    rows = pads.dataset(path, filesystem=filesystem, format="parquet").to_table(columns=["doc_id", "text"])
    return Documents.of(rows).table


def _write_bundles(bundles: Iterable[Packed], uri: str) -> dict[str, Any]:
    filesystem, path = open_storage(uri)
    sizes: list[dict[str, int]] = []
    totals = {"negatives": 0, "tokens_cut": 0, "texts_cut": 0}
    writer = None
    for bundle in bundles:
        if writer is None:
            writer = pq.ParquetWriter(
                path, bundle.table.schema, filesystem=filesystem, compression="zstd", use_dictionary=False
            )
        writer.write_table(bundle.table)
        sizes.append({"examples": bundle.examples, "texts": bundle.texts, "tokens": bundle.tokens})
        for name in totals:
            totals[name] += getattr(bundle, name)
    if writer is not None:
        writer.close()
    return {"bundles": sizes, **totals}


def plan_files(config: PackConfig, inputs: Mapping[str, Artifact], file_pairs: int = _FILE_PAIRS) -> list[Job]:
    """List the files of the artifact, source by source.

    Args:
        config: which sources.
        inputs: as for `run`.
        file_pairs: most pairs of one file.

    Raises:
        DataError: a source is unknown, or none has rows.
    """
    described = inputs["corpus"].read_json("sources.json")
    pairs = inputs["mine"] if config.hard_negatives and "mine" in inputs else inputs["corpus"]
    jobs = []
    for name in _select(config.sources, described):
        rows = described[name]["rows"]
        for part, split in _PARTS.items():
            shards = -(-min(rows.get(split, 0), _most(config, part) or rows.get(split, 0)) // file_pairs)
            uri = pairs.at("pairs", name)
            jobs += [Job(name, described[name]["task"], part, uri, shard, shards) for shard in range(shards)]
    if not jobs:
        raise DataError("pack: the chosen sources hold no training row. Choose others under `sources`.")
    return jobs


def _select(names: Sequence[str] | None, described: Mapping[str, Any]) -> list[str]:
    for pattern in names or ():
        if not fnmatch.filter(described, pattern):
            raise DataError(f"sources: {pattern!r} is not in the corpus; it has {', '.join(described)}.")
    return [name for name in sorted(described) if names is None or any(fnmatch.fnmatchcase(name, p) for p in names)]


def _write_index(
    config: PackConfig, jobs: Sequence[Job], results: Sequence[Mapping[str, Any]], model_uri: str | None, draft: Draft
) -> None:
    sources: dict[str, dict[str, Any]] = {}
    for job, result in zip(jobs, results, strict=True):
        entry = sources.setdefault(job.source, _empty_entry(job))
        entry[job.part] += result["bundles"]
        files = entry["files" if job.part == "bundles" else "validation_files"]
        files.append({"path": job.path, "bundles": len(result["bundles"])})
        if job.part == "bundles":
            entry["examples"] += sum(bundle["examples"] for bundle in result["bundles"])
            if job.shard == 0:  # every shard sees the whole source
                entry |= {name: result[name] for name in ("instructions", "document_instructions")}
            entry["negatives"] += result["negatives"]
    sizes = [bundle for result in results for bundle in result["bundles"]]
    totals = {name: sum(size[name] for size in sizes) for name in ("examples", "texts", "tokens")}
    lost = {name: sum(result[name] for result in results) for name in ("tokens_cut", "texts_cut")}
    share = lost["tokens_cut"] / max(1, totals["tokens"] + lost["tokens_cut"])
    index = {
        "sources": list(sources.values()),
        "max_tokens": config.max_tokens,
        "tokenizer": None if model_uri is None else tokenizer_fingerprint(load_stored_tokenizer(model_uri)),
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


def _read(uri: str, split: str) -> pa.Table:
    filesystem, path = open_storage(uri)
    rows = pads.dataset(path, filesystem=filesystem, format="parquet")
    return rows.to_table(filter=pads.field("split") == split)
