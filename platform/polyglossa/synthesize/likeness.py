"""How alike a text and its back-translation are: the cosine of an encoder, or the writer's grade."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from polyglossa.embedding.actors import SourceSpec, embed_missing, source_facts
from polyglossa.embedding.text_chunks import distinct, ids_of
from polyglossa.endpoint.chat import read_grade
from polyglossa.recipe.outside import OutsideModel
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.outside.synthetic import BackTranslation
from polyglossa.runtime.nodes import stage_precision
from polyglossa.synthesize.steps import Written
from polyglossa.vectors import VectorStore


def compare(written: Sequence[Written], back: BackTranslation, root: str, placement: StagePlacement) -> None:
    """Say of each translation how alike its text and what came back are, and drop those that are not.

    Args:
        written: assignments whose steps are all answered.
        back: who compares, and how alike they must be.
        root: storage root: keeps vectors.
        placement: actors that embed.

    Raises:
        DataError: the encoder is not that of sentence-transformers.
        EndpointError: an endpoint that embeds does not answer.
    """
    likeness = _graded(written) if back.model is None else _cosines(written, back.model, root, placement)
    for one, alike in zip(written, likeness, strict=True):
        one.likeness = None if np.isnan(alike) else round(float(alike), 6)
        if one.likeness is None:
            one.reason = "not_compared"
        elif one.likeness < back.least:
            one.reason = "unlike_after_back_translation"


def _graded(written: Sequence[Written]) -> list[float]:
    return [read_grade(one.answers[2]) for one in written]


def _cosines(written: Sequence[Written], model: str | OutsideModel, root: str, placement: StagePlacement) -> np.ndarray:
    precision = stage_precision(None, placement)
    spec = SourceSpec(model, precision.dtype, placement.torch_device, None, placement.threads, root)
    source = source_facts(spec, placement, parity=model if isinstance(model, str) else model.model)
    sides = [pa.array([one.assignment.text for one in written]), pa.array([one.answers[1] for one in written])]
    embed_missing(distinct(pa.concat_arrays(sides)), spec, source, placement, what="synthesize: compare")
    store = VectorStore(root, source.fingerprint)
    ids = [ids_of(side) for side in sides]
    usable = store.holds(ids[0]) & store.holds(ids[1])  # a vector that is not finite is not stored
    cosine = np.full(len(written), np.nan)
    vectors = [store.read(side.filter(pa.array(usable))).astype(np.float64) for side in ids]
    cosine[usable] = np.einsum("nd,nd->n", *vectors) if usable.any() else []
    return cosine
