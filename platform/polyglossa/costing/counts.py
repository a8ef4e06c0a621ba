"""Count what a training stage reads: rows, texts and tokens, as the recipe expects or, once packed, as they are.

Lengths are log-normal with the recipe's mean and spread, cut at the stage's `max_tokens`.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from polyglossa.artifact import MARKER, read_json
from polyglossa.errors import RecipeError
from polyglossa.recipe import Recipe
from polyglossa.recipe.sections.expect import ExpectedStage
from polyglossa.recipe.sections.train import StageConfig

_DRAWN = 20_000


@dataclass(frozen=True)
class Counts:
    """One epoch of a training stage."""

    rows: int
    """Training rows."""
    sources: int
    row_tokens: float
    """Tokens that a row adds to a step: its query, positive and chosen negatives, each distinct text once."""
    row_texts: float
    """Distinct texts that a row adds to a step."""
    weighted_length: float
    """Mean length of the text that a token stands in (tokens)."""
    stored_texts: float
    """Texts of all bundles: what packing writes and a teacher's store holds vectors of."""
    stored_tokens: float
    distinct_share: float
    """Share of stored texts that a teacher embeds."""
    measured: bool
    """Whether packed data was counted, rather than what the recipe expects."""

    @property
    def tokens(self) -> float:
        """Tokens of an epoch."""
        return self.rows * self.row_tokens


def count_stage(recipe: Recipe, name: str, pack: str) -> Counts:
    """Count a training stage.

    Args:
        recipe: with `expect`, unless the pack is made.
        name: of the stage.
        pack: name of the pack node that it reads.

    Raises:
        RecipeError: nothing is packed yet and the recipe expects nothing of the stage.
    """
    stage = recipe.training[name]
    index = _find_pack(recipe.root, pack)
    if index is not None:
        return _count_pack(index, stage)
    expected = recipe.expect.stages.get(name) if recipe.expect is not None else None
    if expected is None:
        raise RecipeError(
            f"expect.stages.{name}: is missing, and {pack} is not packed in {recipe.root} yet. Say what its rows and "
            "lengths will be, or run `polyglossa run RECIPE --until pack` first."
        )
    return _expected_counts(expected, stage, recipe.corpus.validation_share)


def negatives_of(stage: StageConfig, expected: float | None = None) -> float:
    """Negatives of a row and step."""
    if not stage.hard_negatives:
        return 0.0
    return float(stage.negatives) if expected is None else expected


def _expected_counts(expected: ExpectedStage, stage: StageConfig, validation_share: float) -> Counts:
    negatives = negatives_of(stage, expected.negatives)
    query, document = (
        cut_mean(mean, expected.spread, stage.max_tokens) for mean in (expected.query_tokens, expected.document_tokens)
    )
    stored = 1 + (expected.stored_negatives if stage.hard_negatives else 0)
    rows = round(expected.total * (1 - validation_share))
    return Counts(
        rows=rows,
        sources=max(expected.sources, len(expected.rows_by_source)),
        row_tokens=expected.distinct * (query[0] + (1 + negatives) * document[0]),
        row_texts=expected.distinct * (2 + negatives),
        weighted_length=(query[1] + (1 + negatives) * document[1]) / (query[0] + (1 + negatives) * document[0]),
        stored_texts=rows * (1 + stored),
        stored_tokens=rows * (query[0] + stored * document[0]),
        distinct_share=expected.distinct_stored,
        measured=False,
    )


@lru_cache(maxsize=64)
def cut_mean(mean: float, spread: float, most: int) -> tuple[float, float]:
    """Mean and mean square of a log-normal length, cut at `most` tokens."""
    drawn = draw_lengths(np.random.default_rng(0), _DRAWN, mean, spread, most).astype(float)
    return float(drawn.mean()), float((drawn**2).mean())


def draw_lengths(rng: np.random.Generator, size: int, mean: float, spread: float, most: int) -> np.ndarray:
    """Draw lengths (tokens) of a log-normal distribution with a mean, cut at `most`, at least 2."""
    drawn = rng.lognormal(math.log(mean) - spread**2 / 2, spread, size)
    return np.clip(np.round(drawn), 2, most).astype(np.int64)


def _find_pack(root: str, pack: str) -> Any:
    """Index of the newest committed pack of a name, where it lies in a local folder."""
    if "://" in root:
        return None
    folders = [path.parent for path in Path(root, "artifacts", "pack").glob(f"{pack}-*/{MARKER}")]
    if not folders:
        return None
    newest = max(folders, key=lambda folder: folder.joinpath(MARKER).stat().st_mtime)
    return read_json(str(newest / "index.json"))


def _count_pack(index: Any, stage: StageConfig) -> Counts:
    """Count a pack. Negatives of a step are a share of those stored; so are their texts."""
    totals = dict.fromkeys(("examples", "texts", "tokens"), 0.0)
    row_texts = row_tokens = 0.0
    for source in index["sources"]:
        texts, tokens = (sum(bundle[key] for bundle in source["bundles"]) for key in ("texts", "tokens"))
        examples = source["examples"]
        chosen = min(stage.task_negatives.get(source["task"], stage.negatives), source["negatives"] / max(1, examples))
        share = (2 + chosen * stage.hard_negatives) / (2 + source["negatives"] / max(1, examples))
        row_texts += texts * share
        row_tokens += tokens * share
        for key, value in (("examples", examples), ("texts", texts), ("tokens", tokens)):
            totals[key] += value
    rows = int(totals["examples"])
    weights = _source_weights(index, stage)
    mean = totals["tokens"] / max(1.0, totals["texts"])
    return Counts(
        rows=rows,
        sources=len(index["sources"]),
        row_tokens=weights[0] if weights else row_tokens / max(1, rows),
        row_texts=weights[1] if weights else row_texts / max(1, rows),
        weighted_length=1.5 * mean,
        stored_texts=totals["texts"],
        stored_tokens=totals["tokens"],
        distinct_share=1.0,
        measured=True,
    )


def _source_weights(index: Any, stage: StageConfig) -> tuple[float, float] | None:
    """Tokens and texts of a row where sources are read by weight."""
    if stage.source_weights is None:
        return None
    tokens = texts = total = 0.0
    for source in index["sources"]:
        weight, examples = stage.source_weights.get(source["name"], 0.0), max(1, source["examples"])
        stored = source["negatives"] / examples
        chosen = min(stage.task_negatives.get(source["task"], stage.negatives), stored) * stage.hard_negatives
        share = weight * (2 + chosen) / (2 + stored) / examples
        tokens += share * sum(bundle["tokens"] for bundle in source["bundles"])
        texts += share * sum(bundle["texts"] for bundle in source["bundles"])
        total += weight
    return tokens / total, texts / total
