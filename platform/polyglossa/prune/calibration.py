"""Calibration texts: a fixed sample of a packed corpus, drawn by hash. Reads only the bundles that it draws from.

Bundles are shuffled slices of one source each, so a few rows of many bundles cover the sources in proportion.
"""

from collections.abc import Iterator, Sequence

from polyglossa.artifact import Artifact
from polyglossa.data.bundles import BundleReader
from polyglossa.data.pack_index import read_pack_index
from polyglossa.errors import DataError
from polyglossa.records import row_id

_ROWS_PER_BUNDLE = 8


def calibration_texts(pack: Artifact, rows: int, seed: int) -> list[list[int]]:
    """Draw examples and return the token ids of their queries and positives.

    Args:
        pack: packed corpus.
        rows: examples to draw; all of them where the corpus has fewer.
        seed: which sample.

    Raises:
        DataError: the corpus holds no example.
    """
    examples = {
        (source.name, number): bundle.examples
        for source in read_pack_index(pack.uri).sources
        for number, bundle in enumerate(source.bundles)
    }
    if not any(examples.values()):
        raise DataError(f"{pack.uri}: holds no example to calibrate on. Give the corpus a source with training rows.")
    bundles = sorted(examples, key=lambda bundle: row_id(str(seed), bundle[0], str(bundle[1])))
    shares = share_out([examples[bundle] for bundle in bundles], rows)
    reader = BundleReader(pack.uri, cache_bytes=0)
    return [
        text
        for (source, number), count in zip(bundles, shares, strict=False)
        for text in _draw(reader, source, number, count, seed)
    ]


def share_out(examples: Sequence[int], rows: int) -> list[int]:
    """Say how many rows to draw from each bundle, from the front: few of many, more where that does not reach.

    Returns:
        Rows per bundle; bundles after the last one needed are left out. The sum is min(rows, all examples).
    """
    rows = min(rows, sum(examples))
    each = _ROWS_PER_BUNDLE
    while sum(min(each, count) for count in examples) < rows:
        each += 1
    shares: list[int] = []
    for count in examples:
        if sum(shares) == rows:
            break
        shares.append(min(each, count, rows - sum(shares)))
    return shares


def _draw(reader: BundleReader, source: str, number: int, count: int, seed: int) -> Iterator[list[int]]:
    """Yield the texts, as token ids, of the `count` examples of a bundle whose hashes are lowest."""
    bundle = reader.read(source, number)
    order = sorted(range(len(bundle.query_Q)), key=lambda row: row_id(str(seed), source, str(number), str(row)))
    for row in order[:count]:
        for text in (bundle.query_Q[row], bundle.positive_Q[row]):
            start, end = bundle.token_offsets[text : text + 2]
            yield bundle.tokens[start:end].tolist()
