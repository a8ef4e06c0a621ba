"""Re-score what mining found: say what it costs, score what has no score yet, decide. Ray Data, like embedding.

    rescoring = Rescoring(config, place)
    rescoring.add(uris, rows, documents)             # of the units' findings, part by part
    rescoring.score()
    uris, refused = rescoring.decide(uris, …)        # row for row, as `decide.RESCORED`

A cross-encoder runs on an actor pool; a judge is asked by the driver alone, whose client has several requests under
way. Scores are kept in the run's answer store, shard by shard: what was scored is not scored again, whoever stops.
"""

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray

from polyglossa.answer_store import AnswerStore
from polyglossa.artifact import clear, read_table
from polyglossa.errors import DataError
from polyglossa.mine.pools import Rows
from polyglossa.mine.rescore.candidates import Pairs, list_pairs
from polyglossa.mine.rescore.decide import decide
from polyglossa.mine.rescore.pending import Pending
from polyglossa.mine.rescore.scorer import PairScorer, open_scorer
from polyglossa.mine.tables import read_found, write_table
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.mine import MineConfig
from polyglossa.runtime import console

_LITTLE_BYTES = 1 << 15  # of pairs: less time than starting an actor takes

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Place:
    """Where a run keeps what it has, and what its workers may use."""

    root: str
    """Storage root: keeps the answers."""
    progress: str
    """The run's own folder, which it clears at its end."""
    placement: StagePlacement


class Rescoring:
    """The second opinion on what a run found, part by part: all is listed, then scored, then decided."""

    def __init__(self, config: MineConfig, place: Place) -> None:
        """Open what scores.

        Args:
            config: the recipe's, with the precision that is computed in.
            place: storage and workers.

        Raises:
            DataError: no usable model is there.
            UserError: a judge cannot be asked.
        """
        assert config.rescore is not None
        self._rescore, self._config, self._place = config.rescore, config, place
        self._scorer = open_scorer(config.rescore, dtype=config.dtype or "float32", device="cpu")
        store = AnswerStore(place.root, self._scorer.fingerprint, pa.float32())
        folder = posixpath.join(place.progress, "pairs")
        clear(folder)
        self._pending = Pending(folder, config.rescore, store)
        self._missing = self._total = 0

    def add(self, uris: Sequence[str], rows: Rows, documents: pa.Table) -> None:
        """List the candidates of a part.

        Args:
            uris: files of what the units found, task by task.
            rows: all rows of the part.
            documents: sorted by id.
        """
        for uri in uris:
            self._pending.add(list_pairs(read_found(uri), rows, documents))

    def score(self) -> None:
        """Say what it costs, and score what has no score yet.

        Raises:
            UserError: it would cost more than the recipe allows; nothing was asked.
            EndpointError: the judge stopped; what it had scored is kept.
        """
        console.say(self._pending.describe())
        self._pending.check_caps()
        _score(self._pending, self._scorer, self._config, self._place)

    def decide(self, uris: Sequence[str], rows: Rows, documents: pa.Table, folder: str) -> tuple[list[str], int]:
        """Decide about a part, once all is scored.

        Returns:
            Files in a folder of the same rows as `decide.RESCORED`, and how many false negatives were refused.
        """
        decided, refused = [], 0
        for uri in uris:
            found = read_found(uri)
            pairs = list_pairs(found, rows, documents)
            score_P = scores_of(pairs, self._pending.store)
            self._missing, self._total = self._missing + int(np.isnan(score_P).sum()), self._total + len(pairs)
            table = decide(found, pairs, score_P, self._config)
            refused += len(table.column("false_negatives").combine_chunks().flatten())
            decided.append(posixpath.join(folder, "rescored", posixpath.basename(uri)))
            write_table(table, decided[-1])
        return decided, refused

    def figures(self) -> dict[str, int]:
        """Return figures for the manifest, once all is decided.

        Raises:
            DataError: too many pairs got no score.
        """
        if self._missing > self._rescore.max_unscored_share * self._total:
            raise DataError(
                f"mine.rescore: {self._rescore.label} gave {self._missing:,} of {self._total:,} pairs no finite score; "
                f"at most a share of {self._rescore.max_unscored_share} may have none. Check it, or raise "
                "`max_unscored_share`."
            )
        pending = self._pending
        return {"pairs_scored": pending.pairs, "pairs_kept": pending.kept, "pairs_without_score": self._missing}


def scores_of(pairs: Pairs, store: AnswerStore) -> Floats:
    """Read the scores of pairs; NaN where there is none."""
    kept = store.read(pairs.table.column("key").combine_chunks())
    scores: Floats = kept.fill_null(float("nan")).to_numpy(zero_copy_only=False)
    return scores


def _score(pending: Pending, scorer: PairScorer, config: MineConfig, place: Place) -> None:
    assert config.rescore is not None
    uris = list(pending.uris)
    placement = place.placement
    little = pending.files == 1 and pending.largest_bytes <= _LITTLE_BYTES and not placement.gpus
    with console.track("mine: re-score", total=pending.pairs, unit="pairs") as bar:
        for pairs in (
            (score_file(uri, scorer, pending.store) for uri in uris)
            if config.rescore.judge is not None or little
            else _on_actors(uris, config, scorer.fingerprint, place)
        ):
            bar.advance(pairs)
    pending.store.refresh()


def score_file(uri: str, scorer: PairScorer, store: AnswerStore) -> int:
    """Score a file of pairs and keep what is finite, also where scoring stops in the middle; returns its pairs."""
    table = read_table(uri)
    score_P = np.full(len(table), np.nan, np.float32)
    try:
        for position, score in scorer.score(table.column("query").to_pylist(), table.column("document").to_pylist()):
            score_P[position] = score
    finally:
        there = np.isfinite(score_P)
        store.append(table.column("key").combine_chunks().filter(pa.array(there)), pa.array(score_P[there]))
    return len(table)


def _on_actors(uris: Sequence[str], config: MineConfig, fingerprint: str, place: Place) -> Iterator[int]:
    items = ray.data.from_items([{"uri": uri} for uri in uris], override_num_blocks=len(uris))
    placement = place.placement
    done = items.map_batches(
        _ScoreFiles,
        fn_constructor_args=(config, fingerprint, place.root, placement.torch_device, placement.threads),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(placement.workers, len(uris))),
        **placement.data_options,
    )
    for row in done.iter_rows():
        yield row["pairs"]


class _ScoreFiles:
    """An actor of the pool: takes files of pairs."""

    def __init__(self, config: MineConfig, fingerprint: str, root: str, device: str, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        assert config.rescore is not None
        self._scorer = open_scorer(config.rescore, dtype=config.dtype or "float32", device=device)
        self._store = AnswerStore(root, fingerprint, pa.float32())

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"pairs": np.array([score_file(str(uri), self._scorer, self._store) for uri in batch["uri"]])}
