"""What corpus tests share: embedded sources read once, and the passes of the stage in memory, without Ray and files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from polyglossa.corpus.clean.contamination import Contamination, EvaluationIndex
from polyglossa.corpus.clean.exact import winners
from polyglossa.corpus.clean.ingest import ingest
from polyglossa.corpus.pairs import documents_of, pairs_from, unique_documents
from polyglossa.corpus.sources import cldr, pydoc
from polyglossa.corpus.sources.cldr import Name
from polyglossa.corpus.sources.pydoc import Function
from polyglossa.corpus.sources.source import Reading
from polyglossa.corpus.steps.tasks import heldout_hashes
from polyglossa.recipe.sections.corpus import CorpusConfig


@pytest.fixture(scope="session")
def names() -> list[Name]:
    return cldr.read_names()


@pytest.fixture(scope="session")
def heldout(names: list[Name]) -> frozenset[str]:
    return cldr.heldout_concepts(names, 0.1, seed=0)


@pytest.fixture(scope="session")
def functions() -> list[Function]:
    return pydoc.read_functions()


@dataclass
class Curated:
    """What the passes of the stage made of some candidates."""

    pairs: list[dict[str, Any]]
    documents: pa.Table
    heldout_documents: pa.Table
    reasons: list[str]


@pytest.fixture(scope="session")
def curate() -> Callable[..., Curated]:
    def run(tables: Sequence[pa.Table], config: CorpusConfig, indexes: Sequence[EvaluationIndex] = ()) -> Curated:
        """Take candidate tables, one per source in recipe order, through every pass but near-duplicates and caps."""
        done = [ingest(Reading(table, ()), "bad", config.sources[0], config) for table in tables]
        rows = pa.concat_tables([one.rows for one in done])
        sources = tuple(dict.fromkeys(name for table in tables for name in table["source"].to_pylist()))
        keep, drop, _ = winners(rows, sources)
        secret = np.unique(np.concatenate([heldout_hashes(one.rows) for one in done]))
        kept = rows.take(pa.array(keep))
        reasons = np.full(len(keep), None, dtype=object)
        settings = config.decontamination
        Contamination(secret, indexes, settings.block_characters, settings.spaceless_block_characters).mark(
            kept, reasons
        )
        stays = np.array([reason is None for reason in reasons], bool)
        kept = kept.filter(pa.array(stays))
        pairs = pairs_from(kept, config)
        rejected = [reason for one in done for reason in one.rejects["reason"].to_pylist()]
        documents = unique_documents(documents_of(kept, pairs, sources))
        return Curated(
            pairs.to_pylist(), *documents, [*rejected, *["duplicate"] * len(drop), *reasons[~stays].tolist()]
        )

    return run
