"""Mine one unit: search its rows against its pool and choose. Pure but for reading vectors from the store.

What comes back is one row per query; nothing is summed up here, so the audit can be cut any way it likes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from polyglossa.mine.approximate import recall, search_ivf
from polyglossa.mine.choose import IDENTITY, RULES, Choice, Rules, choose, contains, fill
from polyglossa.mine.documents import Documents, InMemory
from polyglossa.mine.near import Sketches, overlap
from polyglossa.mine.search import Ranked, search
from polyglossa.mine.work import FOUND, Pool, UnitWork
from polyglossa.recipe.sections.mine import MineConfig
from polyglossa.vectors import Floats, VectorStore

Ints = npt.NDArray[np.int64]

_IN_MEMORY_BYTES = 1 << 30
_NEAR_ROWS = 256
_NEAR_COPY = next(code for code, name in IDENTITY.items() if name == "near_copy")
_SAME_GROUP = next(code for code, name in IDENTITY.items() if name == "same_group")


@dataclass(frozen=True)
class Stored:
    """Documents read from the vector store block by block: a pool larger than memory."""

    store: VectorStore
    text_ids: pa.Array

    def __len__(self) -> int:
        return len(self.text_ids)

    def block(self, start: int, stop: int) -> Floats:
        """See `search.Documents`."""
        return self.store.read(self.text_ids.slice(start, stop - start))

    def take(self, documents: Ints) -> Floats:
        """See `search.Documents`."""
        return self.store.read(self.text_ids.take(pa.array(documents)))


def rules_of(config: MineConfig) -> Rules:
    """Read the rules out of a recipe's settings."""
    return Rules(
        window=config.top_k,
        skip=config.skip,
        max_score=config.max_score,
        relative_margin=config.relative_margin,
        absolute_margin=config.absolute_margin,
        negatives=config.negatives,
        consistency=config.consistency,
    )


def mine_unit(work: UnitWork, pool: Pool, store: VectorStore, config: MineConfig, device: str = "cpu") -> pa.Table:
    """Find and choose the negatives of a unit's rows.

    Returns:
        One row per query, in order: `row`, `negatives` (document numbers, hardest first), `negative_scores`, `filled`
        (how many of them are random), `positive_score` (the lowest of the row's positives), `reason` (null, or why the
        row is rejected), `refused` (candidates refused, by `RULES[1:]`), `pool`, the measured recall of an approximate
        search (on the unit's first row), and what the rules would have let through without knowing groups: `blind`
        negatives, of which `blind_same_group` are of the query's own group.
    """
    if not len(work.row):
        return FOUND.empty_table()
    query_QD = store.read(work.text_ids)
    documents = _open_pool(pool, store)
    lowest_Q, highest_Q = positive_scores(query_QD, work, store)
    ranked, (found, wanted) = _search(query_QD, documents, work, config, device)
    excluded_QK = mark(ranked.document_QK, work, len(documents))
    if work.positive_sketches is not None and pool.sketches is not None:
        near = near_copies(ranked.document_QK, work, work.positive_sketches, pool.sketches, config.near_copy or 1.0)
        excluded_QK[near & (excluded_QK == 0)] = _NEAR_COPY
    rules = rules_of(config)
    choice = choose(ranked.document_QK, ranked.score_QK, lowest_Q, highest_Q, excluded_QK, rules)
    blind_QK = np.where(excluded_QK == _SAME_GROUP, np.int8(0), excluded_QK)
    blind = choose(ranked.document_QK, ranked.score_QK, lowest_Q, highest_Q, blind_QK, rules).candidate_QN
    blind_rule = mark(blind, work, len(documents))
    candidate_QN, score_QN = choice.candidate_QN, choice.score_QN
    if config.short == "fill":
        candidate_QN, score_QN = _fill_up(choice, query_QD, documents, work, config.seed)
    count_Q = (candidate_QN >= 0).sum(axis=1)
    mined_Q = (choice.candidate_QN >= 0).sum(axis=1)
    available_Q = len(documents) - np.bincount(work.excluded // max(len(documents), 1), minlength=len(query_QD))
    reason = _reasons(choice, count_Q, available_Q, config)
    real = candidate_QN >= 0
    first = np.arange(len(work.row)) == 0
    offsets = np.append(0, np.cumsum(count_Q)).astype(np.int32)
    number = pool.document[candidate_QN[real]] if len(pool.document) else np.empty(0, np.int64)
    refused = np.stack([(choice.refused_QK == code).sum(axis=1) for code in range(1, len(RULES))], axis=1)
    columns = {
        "row": work.row,
        "negatives": pa.ListArray.from_arrays(offsets, number),
        "negative_scores": pa.ListArray.from_arrays(offsets, score_QN[real]),
        "filled": (count_Q - mined_Q).astype(np.int32),
        "positive_score": lowest_Q,
        "reason": pa.array(reason, pa.string()),
        "refused": list(refused.astype(np.int32)),
        "pool": [pool.name] * len(work.row),
        "recall_found": np.full(len(work.row), found, np.int32) * first,
        "recall_wanted": np.full(len(work.row), wanted, np.int32) * first,
        "blind": (blind >= 0).sum(axis=1).astype(np.int32),
        "blind_same_group": (blind_rule == _SAME_GROUP).sum(axis=1).astype(np.int32),
    }
    return pa.table(columns, schema=FOUND)


def positive_scores(query_QD: Floats, work: UnitWork, store: VectorStore) -> tuple[Floats, Floats]:
    """Score every query's positives; returns the lowest and the highest, [Q] each."""
    row, place = work.positives.take(np.arange(len(query_QD)))
    positive_PD = store.read(work.positive_ids)
    score = np.concatenate(
        [
            np.einsum("nd,nd->n", query_QD[row[part]].astype(np.float64), positive_PD[place[part]].astype(np.float64))
            for part in np.array_split(np.arange(len(row)), len(row) // 16_384 + 1)
        ]
    ).astype(np.float32)
    start = work.positives.offsets[:-1]
    return np.minimum.reduceat(score, start), np.maximum.reduceat(score, start)


def mark(candidate_QK: Ints, work: UnitWork, pool_size: int) -> npt.NDArray[np.int8]:
    """Look up why each candidate is excluded for what it is; 0 where it is not."""
    marked = np.zeros(candidate_QK.shape, np.int8)
    if len(work.excluded):
        code = np.arange(len(candidate_QK))[:, None] * pool_size + candidate_QK
        hit = contains(work.excluded, code) & (candidate_QK >= 0)
        marked[hit] = work.excluded_rule[np.searchsorted(work.excluded, code[hit])]
    return marked


def near_copies(
    candidate_QK: Ints, work: UnitWork, positive: Sketches, candidates: Sketches, threshold: float
) -> npt.NDArray[np.bool_]:
    """Tell which candidates' characters overlap any positive of their query by at least `threshold`."""
    near = np.zeros(candidate_QK.shape, bool)
    row, place = work.positives.take(np.arange(len(candidate_QK)))
    for start in range(0, len(row), _NEAR_ROWS):
        part = slice(start, start + _NEAR_ROWS)
        like = overlap(candidates[candidate_QK[row[part]]], positive[place[part]][:, None]) >= threshold
        np.logical_or.at(near, row[part], like)
    return near & (candidate_QK >= 0)


def _open_pool(pool: Pool, store: VectorStore) -> Documents:
    stored = Stored(store, pool.text_ids)
    small = len(stored) * (store.width or 0) * 4 <= _IN_MEMORY_BYTES
    return InMemory(stored.block(0, len(stored))) if small else stored


def _search(
    query_QD: Floats, documents: Documents, work: UnitWork, config: MineConfig, device: str
) -> tuple[Ranked, tuple[int, int]]:
    """Search as many candidates as fill the window even where all that is excluded ranks on top."""
    if not len(documents):
        return Ranked(np.full((len(query_QD), 1), -1), np.full((len(query_QD), 1), -np.inf, np.float32)), (0, 0)
    most = int(np.bincount(work.excluded // len(documents), minlength=1).max(initial=0))
    k = min(len(documents), config.top_k + most)
    if config.approximate is None:
        return search(query_QD, documents, k, dtype=config.dtype or "float32", device=device), (0, 0)
    ivf = config.approximate
    ranked = search_ivf(query_QD, documents, k, lists=ivf.lists, probes=ivf.probes)
    return ranked, recall(ranked, query_QD, documents, ivf.recall_queries)


def _fill_up(choice: Choice, query_QD: Floats, documents: Documents, work: UnitWork, seed: int) -> tuple[Ints, Floats]:
    candidate_QN, new_QN = fill(choice.candidate_QN, work.key, len(documents), work.excluded, seed)
    row, place = np.nonzero(new_QN)
    score_QN = choice.score_QN.copy()
    drawn = documents.take(candidate_QN[row, place])
    score_QN[row, place] = np.einsum("nd,nd->n", query_QD[row].astype(np.float64), drawn.astype(np.float64))
    return candidate_QN, score_QN


def _reasons(choice: Choice, found_Q: Ints, available_Q: Ints, config: MineConfig) -> list[str | None]:
    """Why each row is rejected; None where it stays."""
    reason = np.full(len(found_Q), None, dtype=object)
    if config.short == "drop":
        reason[found_Q < config.negatives] = "too_few_negatives"
    if config.consistency is not None:
        reason[choice.inconsistent_Q] = "positive_ranks_too_low"
    reason[available_Q <= 0] = "no_candidates"
    return list(reason)
