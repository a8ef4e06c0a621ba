"""Sources of one pair per row in a Hugging Face data set."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polyglossa.corpus.sources.pairs import pair_columns, reading_of_pairs
from polyglossa.corpus.sources.source import CorpusSource, Reading, Shard
from polyglossa.errors import DataError
from polyglossa.readers.files import under
from polyglossa.readers.tables import batch_of
from polyglossa.recipe.sections.sources import DatasetSource

_SHARD_ROWS, _BATCH_ROWS = 100_000, 8192


class Dataset(CorpusSource[DatasetSource]):
    """Pairs in a data set: by hub name, or a directory that `save_to_disk` wrote."""

    def shards(self, index: int) -> list[Shard]:
        """Take so many rows a shard."""
        parts = -(-len(self._open()) // _SHARD_ROWS)
        return [Shard(index, part=part, parts=parts) for part in range(parts)]

    def read(self, shard: Shard) -> Iterator[Reading]:
        """Read a batch at a time."""
        found, columns = self._open(), pair_columns(self.entry.columns)
        first = shard.part * _SHARD_ROWS
        for start in range(first, min(first + _SHARD_ROWS, len(found)), _BATCH_ROWS):
            table = found[start : min(start + _BATCH_ROWS, first + _SHARD_ROWS)]
            yield reading_of_pairs(batch_of(table, columns, f"data set {self.entry.dataset}"), self.entry)

    def _open(self) -> Any:
        """Open a directory of `save_to_disk`, or anything that `load_dataset` takes."""
        import datasets

        entry, folder = self.entry, Path(under(self.config.data, self.entry.dataset))
        try:
            if any((folder / name).exists() for name in ("state.json", "dataset_dict.json")):
                loaded = datasets.load_from_disk(str(folder))
                found = loaded[entry.split] if isinstance(loaded, datasets.DatasetDict) else loaded
            else:
                name = str(folder) if folder.exists() else entry.dataset
                found = datasets.load_dataset(name, entry.config, split=entry.split, revision=entry.revision)
        except (OSError, ValueError, KeyError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(
                f"corpus source {entry.name!r}: data set {entry.dataset} cannot be opened: {first}"
            ) from None
        return found.with_format("arrow")


SOURCE = Dataset
