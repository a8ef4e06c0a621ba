"""The language of every query: as the file says it, else identified; rare ones count as the most frequent one."""

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from polyglossa.corpus.clean.language import UNDETERMINED, identifier, is_language, named

_SAMPLE = 1000
_ONE_LANGUAGE = 0.9
"""Share of a sample in one language that stands for all: identifiers take short texts of one language for others."""
_LEAST_SHARE = 0.05
_LEAST_CONFIDENCE = 0.5


def languages_of(table: pa.Table) -> list[str]:
    """Name the language (ISO 639-3) of every row's query.

    Args:
        table: `OWN_ROW`.
    """
    given = table["language"].to_pylist()
    queries = table["query"].to_pylist()
    if any(given):
        return [named(code) if code and is_language(code) else UNDETERMINED for code in given]
    step = max(1, len(queries) // _SAMPLE)
    found = Counter(_identified(queries[::step]))
    sure = Counter({code: count for code, count in found.items() if code != UNDETERMINED})
    most, count = sure.most_common(1)[0] if sure else (UNDETERMINED, 0)
    if count >= _ONE_LANGUAGE * sum(sure.values()):
        return [most] * len(queries)
    each = _identified(queries)
    counts = Counter(each)
    known = {code for code, count in counts.items() if code != UNDETERMINED and count >= _LEAST_SHARE * len(each)}
    return [code if code in known else most for code in each]


def _identified(texts: Sequence[str]) -> list[str]:
    identify = identifier(None)
    answers = (identify(text) for text in texts)
    return [language if confidence >= _LEAST_CONFIDENCE else UNDETERMINED for language, confidence in answers]
