"""Run one evaluation worker: hold a model, embed texts, evaluate shares of tasks. No Ray here."""

import json
import logging
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import mteb
import torch
from mteb.abstasks import AbsTaskRetrieval
from mteb.languages import ISO_TO_LANGUAGE
from mteb.models.model_meta import ModelMeta, ScoringFunction

from polyglossa.embedding.parity import check_parity
from polyglossa.embedding.state_sources import StateSource
from polyglossa.errors import DataError, PolyglossaError
from polyglossa.evaluate.models.compressed import BINARY_RESCORED, FORMS, CompressedEncoder, CompressedSearcher
from polyglossa.evaluate.models.protocol import MtebEncoder, MtebSearcher
from polyglossa.evaluate.models.sources import open_source
from polyglossa.evaluate.models.spec import ModelSpec
from polyglossa.evaluate.models.states import CountedEmbed, Floats, StateTable, StoredEmbed
from polyglossa.evaluate.plan import PlannedTask, Share
from polyglossa.evaluate.scoring.per_query_scores import Recorder
from polyglossa.evaluate.scoring.task_result import TaskResult
from polyglossa.evaluate.shared_embed import Exchanged, SharedEmbed
from polyglossa.evaluate.tasks.named import build_task, plan_named_tasks
from polyglossa.evaluate.tasks.prompts import prompts_for
from polyglossa.evaluate.tasks.search_task import SearchTask
from polyglossa.evaluate.tasks.trained_on import trained_on
from polyglossa.evaluate.tasks.widths import score_by_language
from polyglossa.recipe.sections.evaluate import EvaluateConfig
from polyglossa.vectors import VectorStore

_ENCODE = {"batch_size": 1024, "show_progress_bar": False}  # only mteb's loader cuts by it; the encoder has its own
KEPT_BYTES = 512 * 2**20
"""Texts and states of a task that stay in memory; of a larger corpus they are read again, 50,000 documents at a time
(mteb's piece of a corpus), so that memory does not depend on how many there are."""

_TIMED = 11
_PAUSES = (0.0, 0.1, 0.2, 0.4, 0.8)
"""Seconds before each series: what else goes on for a moment doubles one of them, and the least is taken."""
_TIMED_TEXT = "Where does the river that runs through the old town begin, and how long is it? " * 2


class UndefinedScoreError(PolyglossaError):
    """A task has no score: a correlation with a constant, for one."""


@dataclass(frozen=True)
class ModelFacts:
    """What plans and summaries need to know of a model, and mteb's own record of it."""

    parameters: int | None
    dim: int
    widths: tuple[int, ...]
    prompts: dict[str, str]
    """Prompts that the model directory pins."""
    max_tokens: int | None
    """Longest text that it reads here."""
    fingerprint: str
    meta: dict[str, Any]


class Worker:
    """One model on one device."""

    def __init__(self, spec: ModelSpec, *, threads: int, root: str | None, exchange: Exchanged | None = None) -> None:
        """Open a model.

        Args:
            spec: which.
            threads: torch threads.
            root: storage root whose vector store is read and added to; None keeps vectors in a folder of the worker's
                own, until it ends.
            exchange: where workers with the same model take parts of each other's calls; not of an endpoint's, whose
                parts would be paid for twice.
        """
        torch.set_num_threads(threads)
        logging.getLogger("mteb").setLevel(logging.WARNING)
        self._spec, self._root = spec, root
        self.source = open_source(spec)
        self.meta = model_meta(self.source, spec)
        if root is None:
            self._own_folder = tempfile.TemporaryDirectory(prefix="polyglossa-vectors-")
        self._store = VectorStore(root or self._own_folder.name, self.source.fingerprint)
        self._shared = SharedEmbed(self.source.embed, exchange if spec.endpoint is None else None)

    def facts(self) -> ModelFacts:
        """Describe the model."""
        return ModelFacts(
            parameters=self.source.parameters,
            dim=self.source.width,
            widths=self.source.widths,
            prompts=self.source.prompts,
            max_tokens=self.source.max_tokens,
            fingerprint=self.source.fingerprint,
            meta=json.loads(json.dumps(self.meta.to_dict(), default=str)),
        )

    def check(self) -> None:
        """Hold a model from outside to sentence-transformers.

        Raises:
            DataError: its vectors are not those of sentence-transformers.
        """
        if self._spec.foreign and self._spec.path is not None:
            check_parity(self._spec.path, root=self._root)

    def help(self) -> bool:
        """Embed parts of what other workers are embedding, until none is left; whether there were any."""
        return self._shared.help()

    def speed(self) -> dict[str, float | int | None]:
        """Time one text at a time, as a query comes; a model that does not answer has no time."""
        try:
            medians = [self._median_seconds(pause) for pause in _PAUSES[: 1 if self._spec.endpoint else None]]
        except PolyglossaError:
            return {"milliseconds_per_text": None, "threads": torch.get_num_threads()}
        return {"milliseconds_per_text": 1000 * min(medians), "threads": torch.get_num_threads()}

    def _median_seconds(self, pause: float) -> float:
        time.sleep(pause)
        spent = []
        for _ in range(_TIMED):
            started = time.perf_counter()
            self.source.embed([_TIMED_TEXT])
            spent.append(time.perf_counter() - started)
        return median(spent)

    def embed(self, texts: list[str]) -> Floats:
        """Return raw states [N, D] of rendered texts."""
        return self.source.embed(texts)

    def evaluate_share(
        self,
        share: Share,
        prompts: dict[str, str],
        widths: Sequence[int],
        texts: list[str] | None = None,
        state_ND: Floats | None = None,
        compressed: bool = False,
    ) -> TaskResult:
        """Judge a share of a task; whatever goes wrong in it is its verdict's reason.

        Args:
            share: which subsets of which task.
            prompts: prefix by mteb's names.
            widths: widths to score besides the full one.
            texts: rendered texts whose states are known (held-out sets).
            state_ND: their raw states.
            compressed: whether compressed vectors are scored too, at all of these widths.
        """
        try:
            if share.heldout is None:
                return self._evaluate_any(share, prompts, widths, compressed)
            states = StateTable(self.embed, texts or (), state_ND)
            return self._evaluate_heldout(share, states, prompts, widths, compressed)
        except Exception as error:  # mteb and its data sets raise anything; one task must not cost the others
            return TaskResult(share.task, share.rows, reason=_reason(error))

    def _evaluate_heldout(
        self, share: Share, states: StateTable, prompts: dict[str, str], widths: Sequence[int], compressed: bool
    ) -> TaskResult:
        assert share.heldout is not None
        task = SearchTask(share.heldout)
        task.load_data()
        task_result = self._run_task(share, task, MtebSearcher(states, prompts, self.meta, **self._kind()))
        swept = {
            width: score_by_language(task, MtebSearcher(states, prompts, self.meta, width, **self._kind()))
            for width in widths
        }
        forms = {
            form: {
                width: score_by_language(
                    task, CompressedSearcher(form, states, prompts, self.meta, width, **self._kind())
                )
                for width in (*widths, self.source.width)
            }
            for form in (FORMS if compressed else ())
        }
        return replace(task_result, widths=swept, compressed=forms)

    def _evaluate_any(
        self, share: Share, prompts: dict[str, str], widths: Sequence[int], compressed: bool
    ) -> TaskResult:
        counted = CountedEmbed(self._shared)
        states = StateTable(StoredEmbed(counted, self._store, self.source.confirm), most_bytes=KEPT_BYTES)
        task = build_task(share)
        task.load_data()
        task_result = self._run_task(share, task, MtebEncoder(states, prompts, self.meta, **self._kind()))
        swept = {
            width: self._main_scores(task, MtebEncoder(states, prompts, self.meta, width, **self._kind()))
            for width in widths
        }
        forms = {
            form: {
                width: self._main_scores(
                    task, CompressedEncoder(form, states, prompts, self.meta, width, **self._kind())
                )
                for width in (*widths, self.source.width)
            }
            for form in (FORMS if compressed else ())
            if form != BINARY_RESCORED or isinstance(task, AbsTaskRetrieval)
        }
        return replace(task_result, widths=swept, compressed=forms, embedded=counted.texts)

    def plan_named(self, config: EvaluateConfig, known: bool) -> list[PlannedTask]:
        """Look up the tasks that a recipe names; see `plan_named_tasks`."""
        planned: dict[str, PlannedTask] = {}
        for task in plan_named_tasks(config, known=known):
            before = planned[task.name].benchmarks if task.name in planned else ()
            planned[task.name] = replace(task, benchmarks=(*before, *task.benchmarks))
        return list(planned.values())

    def trained_on(self, config: EvaluateConfig) -> dict[str, dict[str, Any]]:
        """Look up what the models that reports compare with were trained on, benchmark by benchmark."""
        return trained_on(config)

    def language_names(self, languages: Sequence[str]) -> dict[str, str]:
        """Name languages in English, where their ISO 639-3 code has a name."""
        names = {language: ISO_TO_LANGUAGE.get(language.partition("_")[0]) for language in languages}
        return {language: name for language, name in names.items() if name}

    def _kind(self) -> dict[str, Any]:
        return {"finished": self.source.finished, "similarity": self.source.similarity}

    def _run_task(self, share: Share, task: Any, model: MtebEncoder) -> TaskResult:
        recorder = Recorder(task)
        with tempfile.TemporaryDirectory() as folder:
            keeps = None if share.heldout is not None else Path(folder)
            result = _evaluate(model, task, keeps)
            splits = list(result["scores"])
            samples = {
                name if len(splits) == 1 else f"{name} ({split})": found
                for split in splits
                for name, found in recorder.samples(Path(folder), split).items()
            }
        metadata = task.metadata
        return TaskResult(share.task, share.rows, metadata.type, metadata.main_score, result, samples=samples)

    def _main_scores(self, task: Any, model: MtebEncoder) -> dict[str, float]:
        rows = [row for rows in _evaluate(model, task, None)["scores"].values() for row in rows]
        names = dict.fromkeys(row["hf_subset"] for row in rows)
        return {name: fmean(row["main_score"] for row in rows if row["hf_subset"] == name) for name in names}


def _evaluate(model: MtebEncoder, task: Any, predictions: Path | None) -> dict[str, Any]:
    ran = mteb.evaluate(
        model,
        task,
        cache=None,
        co2_tracker=False,
        encode_kwargs=dict(_ENCODE),
        show_progress_bar=False,
        prediction_folder=predictions,
    )
    if not ran.task_results:
        raise DataError(f"{task.metadata.name}: mteb gave no result; its data may not be had here.")
    result: dict[str, Any] = json.loads(ran.task_results[0].model_dump_json())
    undefined = [row["hf_subset"] for rows in result["scores"].values() for row in rows if row["main_score"] is None]
    if undefined:
        raise UndefinedScoreError(
            f"{task.metadata.main_score} is not defined for {', '.join(undefined[:5])}: "
            "all vectors or all labels may be equal (is the prompt longer than the model's longest text?)."
        )
    return result


def _reason(error: Exception) -> str:
    said = " ".join(str(error).split())[:300]
    return said if isinstance(error, PolyglossaError) else f"{type(error).__name__}: {said}"


def model_meta(source: StateSource, spec: ModelSpec) -> ModelMeta:
    """Describe a model to mteb."""
    similarity = ScoringFunction.DOT_PRODUCT if source.similarity == "dot" else ScoringFunction.COSINE
    return ModelMeta.create_empty(
        overwrites={
            "name": spec.name,
            "revision": spec.revision,
            "n_parameters": source.parameters,
            "embed_dim": source.width,
            "max_tokens": source.max_tokens,
            "framework": ["API"] if spec.endpoint else ["PyTorch", "Sentence Transformers", "safetensors"],
            "similarity_fn_name": similarity,
            "use_instructions": any(prompts_for(source.prompts, {}, instructed=spec.instructed, search=True).values()),
        }
    )
