"""Hold an export to its encoder: the same tokens through both, cosine by cosine, and retrieval over them.

The built-in panel is made of texts that every Python has (the language reference in `pydoc_data`), in whose sections
the first sentence is the question and what follows the answer, and of sentences in ten scripts.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from polyglossa.embedding.parity import SCRIPTS
from polyglossa.errors import DataError
from polyglossa.export.padded_encoder import States
from polyglossa.model.encoder import Encoder
from polyglossa.vectors import Floats, finish

_SECTIONS = 96
_DEPTH = 10
_PARAGRAPH_CHARACTERS = (80, 900)


@dataclass(frozen=True)
class Panel:
    """Texts to hold an export to; query i asks for document i."""

    queries: tuple[str, ...]
    documents: tuple[str, ...]
    others: tuple[str, ...]
    """Texts of which only vectors are compared."""

    @property
    def texts(self) -> list[str]:
        """All of them."""
        return [*self.queries, *self.documents, *self.others]


@dataclass(frozen=True)
class Fidelity:
    """What of the encoder an export keeps on a panel."""

    least_cosine: float
    mean_cosine: float
    retrieval_kept: float
    """nDCG@10 over the panel's questions, as a share of the encoder's."""
    neighbours_kept: float
    """Share of the encoder's ten nearest documents that are among the export's ten nearest."""
    texts: int

    def plain(self) -> dict[str, Any]:
        """Return it for a manifest."""
        return {name: round(value, 6) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Promise:
    """What an export must keep, or it is not written."""

    least_cosine: float
    retrieval_kept: float

    def check(self, what: str, found: Fidelity) -> None:
        """Refuse an export that keeps less.

        Raises:
            DataError: with what was found and what was promised.
        """
        kept = found.retrieval_kept >= self.retrieval_kept
        if found.least_cosine >= self.least_cosine and kept:  # NaN is neither
            return
        raise DataError(
            f"{what}: on the panel its least cosine to the encoder is {found.least_cosine:.5f} (≥ {self.least_cosine} "
            f"is promised) and it keeps {found.retrieval_kept:.4f} of retrieval (≥ {self.retrieval_kept}). Nothing was "
            "written. Take weights of more bits, or lower --least-cosine if you accept it."
        )


def builtin_panel() -> Panel:
    """Return the panel for which no file is needed."""
    queries, documents = zip(*_sections(), strict=True)
    return Panel(queries, documents, tuple(text for text in SCRIPTS if text.strip()))


def text_panel(texts: Sequence[str]) -> Panel:
    """Make a panel of texts of the person's own: each one's beginning asks for its end.

    Raises:
        DataError: fewer than twenty texts of eight words.
    """
    words = [text.split() for text in dict.fromkeys(texts)]
    long = [one for one in words if len(one) >= 8]
    if len(long) < 20:
        raise DataError(f"the panel has {len(long)} texts of eight words and more; at least 20 are needed.")
    halves = [(" ".join(one[: len(one) // 2]), " ".join(one[len(one) // 2 :])) for one in long]
    queries, documents = zip(*halves, strict=True)
    return Panel(queries, documents, tuple(" ".join(one) for one in words if 0 < len(one) < 8))


def hold(encoder: Encoder, export: States, panel: Panel) -> Fidelity:
    """Compare an export with the encoder on a panel, both given the encoder's tokens."""
    tokens = encoder.tokenize(panel.texts)
    return compare(encoder.states(tokens).numpy(), export.states(tokens), panel)


def compare(ours_NS: Floats, theirs_NS: Floats, panel: Panel) -> Fidelity:
    """Compare the states of a panel's texts.

    Args:
        ours_NS: the encoder's.
        theirs_NS: the export's.
        panel: its texts, in order.

    Raises:
        DataError: the two are of different width.
    """
    if ours_NS.shape != theirs_NS.shape:
        raise DataError(f"the export gives states {theirs_NS.shape[1]} wide; the encoder's are {ours_NS.shape[1]}.")
    vector_NS, other_NS = finish(ours_NS), finish(theirs_NS)
    cosine_N = (vector_NS.astype(np.float64) * other_NS).sum(1)
    cosine_N = np.where(np.isfinite(cosine_N), cosine_N, -1.0)
    queries, documents = len(panel.queries), len(panel.documents)
    ranks = [
        np.argsort(-(one[:queries] @ one[queries : queries + documents].T), axis=1, kind="stable")[:, :_DEPTH]
        for one in (vector_NS, other_NS)
    ]
    ours, theirs = (_ndcg(rank_QR) for rank_QR in ranks)
    shared = [len(set(a) & set(b)) / len(a) for a, b in zip(*(rank.tolist() for rank in ranks), strict=True)]
    kept = theirs / ours if ours else float(theirs == ours)
    return Fidelity(float(cosine_N.min()), float(cosine_N.mean()), kept, float(np.mean(shared)), len(cosine_N))


def _ndcg(rank_QR: np.ndarray) -> float:
    """NDCG@10 where document i is the one answer to query i."""
    hit_QR = rank_QR == np.arange(len(rank_QR))[:, None]
    gain_R = 1 / np.log2(np.arange(2, rank_QR.shape[1] + 2))
    return float((hit_QR * gain_R).sum(1).mean())


@lru_cache(maxsize=1)
def _sections() -> list[tuple[str, str]]:
    """Pairs of question and answer out of Python's language reference."""
    from pydoc_data.topics import topics

    least, most = _PARAGRAPH_CHARACTERS
    found: dict[str, str] = {}
    for _, text in sorted(topics.items()):
        for paragraph in re.split(r"\n\s*\n", text):
            plain = " ".join(paragraph.split())
            first, stop, rest = plain.partition(". ")
            if stop and least <= len(plain) <= most and len(first) > 24 and len(rest) > 40 and plain[0].isalpha():
                found.setdefault(first, rest)
    pairs = list(found.items())
    return pairs[:: max(1, len(pairs) // _SECTIONS)][:_SECTIONS]
