"""Refuse false negatives by the scores of their pairs, and keep the scores of what stays. Pure numpy and Arrow.

R = rows, P = pairs of all rows (positives, then candidates, row after row).

A cross-encoder that ranks a candidate as high as the row's own positive says that it answers too: RocketQA (arXiv
2010.08191) drops such candidates, RLHN (arXiv 2505.16967) has a language model find them.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.mine.rescore.candidates import Pairs
from polyglossa.mine.work import FOUND
from polyglossa.recipe.sections.mine import MineConfig

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

NO_SCORE = "positive_without_score"

RESCORED = pa.schema(
    [
        *FOUND,
        pa.field("candidate_scores", pa.list_(pa.float32())),  # of the positives, then of the negatives that stay
        pa.field("pairs_scored", pa.int32()),
        pa.field("unscored", pa.int32()),  # candidates dropped because they got no finite score
        pa.field("false_negatives", pa.list_(pa.int64())),  # document numbers of what was refused
        pa.field("false_negative_scores", pa.list_(pa.float32())),
    ]
)
"""What the units found, after the second opinion."""


def decide(found: pa.Table, pairs: Pairs, score_P: Floats, config: MineConfig) -> pa.Table:
    """Decide about every candidate, and cut rows to the negatives that the recipe asks for.

    Args:
        found: what the units returned, with spare candidates.
        pairs: their pairs.
        score_P: a score for each pair; NaN where there is none.
        config: the recipe's.

    Returns:
        `RESCORED`, row for row. A row whose positive has no score is rejected (`positive_without_score`).
    """
    assert config.rescore is not None
    size_R = np.diff(pairs.offsets)
    row_P = np.repeat(np.arange(len(found)), size_R)
    place_P = np.arange(len(score_P)) - np.repeat(pairs.offsets[:-1], size_R)
    positive_P = place_P < pairs.positives_R[row_P]
    lowest_R = np.full(len(found), np.inf, np.float32)
    with np.errstate(invalid="ignore"):
        np.minimum.at(lowest_R, row_P[positive_P], score_P[positive_P])  # NaN wins: a row is as known as its positives
    blind_R = np.isnan(lowest_R)
    unscored_P = ~positive_P & ~np.isfinite(score_P)
    with np.errstate(invalid="ignore"):
        refused_P = ~positive_P & ~unscored_P & (score_P >= lowest_R[row_P] - np.float32(config.rescore.margin))
    refused_P &= ~blind_R[row_P]
    kept_P = _first(~positive_P & ~unscored_P & ~refused_P & ~blind_R[row_P], row_P, len(found), config.negatives)
    number_P = np.zeros(len(score_P), np.int64)
    embedded_P = np.zeros(len(score_P), np.float32)
    count_R = size_R - pairs.positives_R
    number_P[~positive_P], embedded_P[~positive_P] = _candidates(found, count_R)
    mined_R = count_R - np.where(size_R > 0, found.column("filled").to_numpy(), 0)
    filled_P = kept_P & (place_P - pairs.positives_R[row_P] >= mined_R[row_P])
    shown_P = kept_P | (positive_P & ~blind_R[row_P])
    decided = {
        "negatives": _lists(number_P, kept_P, row_P, len(found)),
        "negative_scores": _lists(embedded_P, kept_P, row_P, len(found)),
        "filled": np.bincount(row_P[filled_P], minlength=len(found)).astype(np.int32),
        "reason": _reasons(found, blind_R, np.bincount(row_P[kept_P], minlength=len(found)), config),
        "candidate_scores": _lists(score_P, shown_P, row_P, len(found)),
        "pairs_scored": np.bincount(row_P[np.isfinite(score_P)], minlength=len(found)).astype(np.int32),
        "unscored": np.bincount(row_P[unscored_P], minlength=len(found)).astype(np.int32),
        "false_negatives": _lists(number_P, refused_P, row_P, len(found)),
        "false_negative_scores": _lists(score_P, refused_P, row_P, len(found)),
    }
    columns = {name: found.column(name) for name in found.column_names} | decided
    return pa.table([columns[name] for name in RESCORED.names], schema=RESCORED)


def _candidates(found: pa.Table, count_R: Ints) -> tuple[Ints, Floats]:
    """Numbers of the candidates of rows that have pairs, and the scores of their vectors."""
    lists = found.column("negatives").combine_chunks()
    listed = np.repeat(count_R > 0, pc.list_value_length(lists).to_numpy())
    score = found.column("negative_scores").combine_chunks().flatten().to_numpy()
    return lists.flatten().to_numpy()[listed], score[listed]


def _first(may_P: Flags, row_P: Ints, rows: int, most: int) -> Flags:
    """Take the first of each row, at most so many."""
    count_R = np.bincount(row_P[may_P], minlength=rows)
    rank = np.arange(may_P.sum()) - np.repeat(np.cumsum(count_R) - count_R, count_R)
    kept_P = may_P.copy()
    kept_P[may_P] = rank < most
    return kept_P


def _lists(value_P: npt.NDArray[np.generic], taken_P: Flags, row_P: Ints, rows: int) -> pa.ListArray:
    count_R = np.bincount(row_P[taken_P], minlength=rows)
    offsets = np.append(0, np.cumsum(count_R)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(value_P[taken_P]))


def _reasons(found: pa.Table, blind_R: Flags, kept_R: Ints, config: MineConfig) -> pa.Array:
    given = found.column("reason").to_pylist()
    short_R = kept_R < config.negatives if config.short == "drop" else np.zeros(len(found), bool)
    said = [
        reason or (NO_SCORE if blind else "too_few_negatives" if short else None)
        for reason, blind, short in zip(given, blind_R.tolist(), short_R.tolist(), strict=True)
    ]
    return pa.array(said, pa.string())
