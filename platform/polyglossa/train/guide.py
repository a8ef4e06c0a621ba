"""Check that a guide reads the languages of the rows that it is to guide, before anything is trained.

A guide that does not know a language scores its texts at random, and would leave half of a batch out for each row. A
source's first bundle shows it: there the guide must score a row's own positive above most of the other documents.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from polyglossa.data.bundles import Bundle, BundleReader, TeacherStore
from polyglossa.data.plan_types import PlanSource
from polyglossa.errors import DataError, list_names
from polyglossa.recipe.sections.train import GuideConfig

_ROWS = 256  # of a bundle; bundles of a recipe's packs hold as many


def guided_sources(guide: GuideConfig, sources: Sequence[PlanSource]) -> tuple[int, ...]:
    """Choose the sources whose rows are guided: those with in-batch negatives that the recipe names.

    Args:
        guide: settings.
        sources: of the plan.

    Returns:
        Their numbers.

    Raises:
        DataError: the recipe names one that is not trained on.
    """
    known = [source.name for source in sources]
    for pattern in guide.sources or ():
        if not any(fnmatchcase(name, pattern) for name in known):
            raise DataError(f"guide.sources: {pattern!r} is not trained on; there are {', '.join(known)}.")
    return tuple(
        number
        for number, source in enumerate(sources)
        if source.in_batch and (guide.sources is None or any(fnmatchcase(source.name, one) for one in guide.sources))
    )


def check_guide(guide: GuideConfig, sources: Sequence[PlanSource], pack_uri: str, store: TeacherStore) -> None:
    """Check a guide by the first bundle of each source.

    Raises:
        DataError: it does not know the texts of a source.
    """
    reader = BundleReader(pack_uri, (store,), cache_bytes=0)
    found = {source.name: agreement(reader.read(source.name, 0)) for source in sources}
    foreign = {name: share for name, share in found.items() if share is not None and share < guide.least}
    if not foreign:
        return
    worst = sorted(foreign, key=foreign.__getitem__)
    shown = list_names([f"{name} {foreign[name]:.2f}" for name in worst], 5)
    able = ", ".join(name for name in found if name not in foreign) or "none of them"
    raise DataError(
        f"the guide does not know the texts of {len(foreign)} of {len(found)} sources: it scores a row's positive "
        f"above too few of the other documents ({shown}; chance is 0.50, guide.least {guide.least:.2f}). Name "
        f"in guide.sources those that it reads ({able}), or take a guide for these languages."
    )


def agreement(bundle: Bundle) -> float | None:
    """Share of the other documents of a bundle that a guide scores below a row's own positive, averaged over the rows.

    Equal scores count half, so that one vector for all texts is chance. None where a bundle has no two rows that mean
    different things.
    """
    assert bundle.teacher_TE is not None
    query_Q, positive_Q, group_Q = (one[:_ROWS] for one in (bundle.query_Q, bundle.positive_Q, bundle.group_Q))
    vector_TE = _normalised(bundle.teacher_TE.astype(np.float32))
    score_QQ = vector_TE[query_Q] @ vector_TE[positive_Q].T
    own_Q1 = score_QQ.diagonal()[:, None]
    other_QQ = (group_Q[:, None] != group_Q[None, :]) & (positive_Q[:, None] != positive_Q[None, :])
    below_QQ = np.where(np.isclose(score_QQ, own_Q1, rtol=0, atol=1e-6), 0.5, score_QQ < own_Q1)
    rows = other_QQ.any(1)
    if not rows.any():
        return None
    return float(((below_QQ * other_QQ).sum(1)[rows] / other_QQ.sum(1)[rows]).mean())


def _normalised(vector_TE: NDArray[np.float32]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = vector_TE / np.maximum(np.linalg.norm(vector_TE, axis=1, keepdims=True), 1e-12)
    return scaled
