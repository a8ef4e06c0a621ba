"""What is still to be scored, as files of pairs beside the run's progress; what it costs is known before any is read.

Texts lie in files, not in one process: a worker reads its own, and memory does not grow with the corpus.
"""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.answer_store import AnswerStore
from polyglossa.costing.work import TEXT_BYTES
from polyglossa.errors import UserError
from polyglossa.mine.rescore.candidates import Pairs
from polyglossa.mine.tables import write_table
from polyglossa.recipe.sections.outside.rescore import RescoreConfig

CHUNK_PAIRS = 512
_ASKED_PAIRS = 64  # of a judge between two shards of the store: what a killed run asks again at most


@dataclass
class Pending:
    """The pairs of a run that nobody has scored yet."""

    folder: str
    config: RescoreConfig
    store: AnswerStore
    pairs: int = 0
    kept: int = 0
    """Pairs whose score is there."""
    text_bytes: int = 0
    files: int = 0
    largest_bytes: int = 0

    def add(self, pairs: Pairs) -> None:
        """Write the pairs that have no score yet, each once, like lengths together."""
        table = _distinct(pairs.table)
        held = self.store.holds(table.column("key").combine_chunks())
        self.kept += int(held.sum())
        missing = table.filter(pa.array(~held))
        size = _bytes(missing)
        missing = missing.take(pa.array(np.argsort(-size, kind="stable")))
        self.pairs, self.text_bytes = self.pairs + len(missing), self.text_bytes + int(size.sum())
        most = _ASKED_PAIRS if self.config.judge else CHUNK_PAIRS
        for start in range(0, len(missing), most):
            part = missing.slice(start, most)
            self.largest_bytes = max(self.largest_bytes, part.nbytes)
            write_table(part, self._uri(self.files))
            self.files += 1

    @property
    def uris(self) -> Iterator[str]:
        """Its files."""
        return map(self._uri, range(self.files))

    @property
    def tokens(self) -> int:
        """Tokens of all that is sent and answered, about."""
        each = len(self.config.prompt.encode()) / TEXT_BYTES + self.config.answer_tokens if self.config.judge else 0
        return round(self.text_bytes / TEXT_BYTES + self.pairs * each)

    def describe(self) -> str:
        """Say what scoring costs, in one line."""
        what = "calls" if self.config.judge else "pairs"
        kept = f"; {self.kept:,} scores are kept from before" if self.kept else ""
        return f"mine: {self.config.label} scores {self.pairs:,} {what}, about {self.tokens:,} tokens{kept}"

    def check_caps(self) -> None:
        """Stop before anything is spent where it would be more than the recipe allows.

        Raises:
            UserError: it would.
        """
        for field, wanted in (("max_pairs", self.pairs), ("max_scored_tokens", self.tokens)):
            most = getattr(self.config, field)
            if wanted > most:
                raise UserError(
                    f"mine.rescore.{field}: {wanted:,} would be needed, and {most:,} are allowed; nothing was asked. "
                    "Raise it, or lower mine.negatives, mine.rescore.spare or mine.max_queries."
                )

    def _uri(self, number: int) -> str:
        return posixpath.join(self.folder, f"{number:06d}.parquet")


def _distinct(table: pa.Table) -> pa.Table:
    codes = table.column("key").combine_chunks().dictionary_encode().indices.to_numpy()
    return table.take(pa.array(np.sort(np.unique(codes, return_index=True)[1])))


def _bytes(table: pa.Table) -> np.ndarray:
    sizes = [pc.binary_length(table.column(name).cast(pa.binary())).to_numpy() for name in ("query", "document")]
    return sizes[0].astype(np.int64) + sizes[1]
