"""What one evaluation worker does: hold a model, embed texts, judge a share of a task. No Ray here."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mteb
import torch
from mteb.languages import ISO_TO_LANGUAGE
from mteb.models.model_meta import ModelMeta, ScoringFunction

from polyglossa.evaluate.heldout import HeldoutSet
from polyglossa.evaluate.prefix import embed_texts
from polyglossa.evaluate.protocol import MtebSearcher
from polyglossa.evaluate.search_task import SearchTask
from polyglossa.evaluate.states import Floats, StateTable
from polyglossa.evaluate.widths import matryoshka_widths, score_by_language
from polyglossa.model.encoder import Encoder, render

_ENCODE = {"batch_size": 1024, "show_progress_bar": False}  # only mteb's loader cuts by it; the encoder has its own


@dataclass(frozen=True)
class ModelFacts:
    """What the summary says of a model, and mteb's own record of it."""

    parameters: int
    dim: int
    widths: tuple[int, ...]
    instructed: bool
    """Whether the model directory pins prompts."""
    meta: dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """A share of a task, judged: mteb's result as plain data, and the main score by width and language."""

    task: str
    queries: int
    result: dict[str, Any]
    widths: dict[int, dict[str, float]]


class Worker:
    """One model on one device."""

    def __init__(self, path: str, *, name: str, revision: str, max_tokens: int | None, threads: int) -> None:
        torch.set_num_threads(threads)
        logging.getLogger("mteb").setLevel(logging.WARNING)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.encoder = Encoder.load(path, device=device, max_tokens=max_tokens)
        self.meta = model_meta(self.encoder, name, revision)

    def facts(self) -> ModelFacts:
        """Describe the model."""
        return ModelFacts(
            parameters=int(self.meta.n_parameters),
            dim=self.encoder.width,
            widths=matryoshka_widths(self.encoder),
            instructed=any(self.encoder.prompts.values()),
            meta=json.loads(json.dumps(self.meta.to_dict(), default=str)),
        )

    def language_names(self, languages: Sequence[str]) -> dict[str, str]:
        """Name languages in English, where their ISO 639-3 code has a name."""
        names = {language: ISO_TO_LANGUAGE.get(language.partition("_")[0]) for language in languages}
        return {language: name for language, name in names.items() if name}

    def embed(self, texts: list[str]) -> Floats:
        """Return raw states [N, D] of rendered texts."""
        return embed_texts(self.encoder, texts).numpy()

    def judge(
        self, heldout: HeldoutSet, texts: list[str], state_ND: Floats, *, instructed: bool, widths: bool
    ) -> Verdict:
        """Judge the languages of a held-out set.

        Args:
            heldout: the set, restricted to this worker's share.
            texts: rendered texts whose states are known.
            state_ND: their raw states.
            instructed: whether queries carry the set's instruction.
            widths: also score every Matryoshka width.
        """
        task = SearchTask(heldout)
        task.load_data()
        states = StateTable(self.embed, texts, state_ND)
        prompts = heldout_prompts(heldout) if instructed else {}
        searcher = MtebSearcher(states, prompts, self.meta)
        ran = mteb.evaluate(
            searcher, task, cache=None, co2_tracker=False, encode_kwargs=dict(_ENCODE), show_progress_bar=False
        )
        swept = {
            width: score_by_language(task, MtebSearcher(states, prompts, self.meta, width))
            for width in (matryoshka_widths(self.encoder) if widths else ())
        }
        return Verdict(heldout.name, len(heldout.queries), json.loads(ran.task_results[0].model_dump_json()), swept)


def heldout_prompts(heldout: HeldoutSet) -> dict[str, str]:
    """Prompts of a held-out task under the names that mteb looks for: queries instructed, documents bare."""
    return {f"{heldout.name}-query": render("", heldout.instruction), f"{heldout.name}-document": ""}


def model_meta(encoder: Encoder, name: str, revision: str) -> ModelMeta:
    """Describe a model to mteb."""
    return ModelMeta.create_empty(
        overwrites={
            "name": name,
            "revision": revision,
            "n_parameters": sum(parameter.numel() for parameter in encoder.backbone.parameters()),
            "embed_dim": encoder.width,
            "max_tokens": encoder.max_tokens,
            "framework": ["PyTorch", "Sentence Transformers", "safetensors"],
            "similarity_fn_name": ScoringFunction.COSINE,
            "use_instructions": any(encoder.prompts.values()),
        }
    )
