"""Annotate rows with their key, languages, confidence of these, and scripts.

A given language stays as it is (some are also identified, to count how often both agree); a missing one is identified,
and one that is identified with too little confidence becomes `und`, the confidence standing beside it.
"""

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.corpus.clean.language import (
    UNDETERMINED,
    canonical,
    identifier,
    is_known,
    named,
    same_language,
    scripts_of,
)
from polyglossa.corpus.hashing import as_one_array, of_distinct, row_keys, shares
from polyglossa.corpus.sources.candidates import CANDIDATE
from polyglossa.recipe.sections.corpus import CorpusConfig
from polyglossa.recipe.sections.sources import Source
from polyglossa.records import ID

ROW = pa.schema([pa.field("key", ID, nullable=False), *CANDIDATE, pa.field("language_confidence", pa.float32())])
"""A candidate that passed, its key (hash of query and positives) first."""

_CONTEXT = 300
"""Characters of the positive that help to identify a query's language."""


def annotate(table: pa.Table, entry: Source, config: CorpusConfig) -> tuple[pa.Table, Counter[str]]:
    """Name languages and scripts, and add keys.

    Args:
        table: candidates that may go on.
        entry: the recipe's entry of their source.
        config: how languages are identified and checked.

    Returns:
        Rows (`ROW`), and counts of given languages that were checked (`agree`, `disagree`) and of identified ones
        (`identified`, `doubtful` of these).
    """
    query, positives = as_one_array(table["query"]), as_one_array(table["positives"])
    first = pc.list_element(positives, 0) if len(positives) else pa.array([], pa.string())
    keys = row_keys(query, positives)
    default = pa.scalar(entry.language, pa.string())
    given = pc.coalesce(as_one_array(table["query_language"]), default)
    language, confidence, counts = _identify_missing(of_distinct(given, named), query, first, config)
    counts += _check_given(given, query, keys, config)
    other = pc.if_else(pc.equal(as_one_array(table["task"]), "bitext"), default, language)
    spoken = pc.coalesce(as_one_array(table["positive_language"]), other)
    columns = {
        "query_language": language,
        "query_script": _scripts(as_one_array(table["query_script"]), given, query),
        "positive_language": of_distinct(spoken, named),
        "positive_script": _scripts(as_one_array(table["positive_script"]), spoken, first),
    }
    for name, column in columns.items():
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
    table = table.append_column(ROW.field("language_confidence"), confidence)
    return table.add_column(0, ROW.field("key"), keys).cast(ROW), counts


def _identify_missing(
    language: pa.Array, query: pa.Array, first: pa.Array, config: CorpusConfig
) -> tuple[pa.Array, pa.Array, Counter[str]]:
    """Fill missing languages: all languages, confidences of those that were identified, and how many these are."""
    missing = language.is_null()
    if not missing.true_count:
        return language, pa.nulls(len(language), pa.float32()), Counter()
    identify, least = identifier(config.languages.model), config.languages.min_confidence
    beginnings = pc.utf8_slice_codeunits(first.filter(missing), 0, _CONTEXT).to_pylist()
    texts = zip(query.filter(missing).to_pylist(), beginnings, strict=True)
    found = [identify(f"{text} {beginning}") for text, beginning in texts]
    languages = pa.array([name if sure >= least else UNDETERMINED for name, sure in found], pa.string())
    sureness = pa.array([sure for _, sure in found], pa.float32())
    counts = Counter(identified=len(found), doubtful=sum(sure < least for _, sure in found))
    confidence = pc.replace_with_mask(pa.nulls(len(language), pa.float32()), missing, sureness)
    return pc.replace_with_mask(language, missing, languages), confidence, counts


def _check_given(given: pa.Array, query: pa.Array, keys: pa.Array, config: CorpusConfig) -> Counter[str]:
    """Identify some of the given languages too, chosen by hash, and count how both agree."""
    if not config.languages.checked_share:
        return Counter()
    chosen = shares(keys, config.seed, "check language") < config.languages.checked_share
    mask = pa.array(chosen & given.is_valid().to_numpy(zero_copy_only=False))
    model = config.languages.model
    counts: Counter[str] = Counter()
    for code, text in zip(given.filter(mask).to_pylist(), query.filter(mask).to_pylist(), strict=True):
        bare = named(code).partition("_")[0]
        if is_known(bare, model):
            counts["agree" if same_language(identifier(model)(text)[0], bare) else "disagree"] += 1
    return counts


def _scripts(scripts: pa.Array, languages: pa.Array, texts: pa.Array) -> pa.Array:
    """Given scripts, else those that the language code carries, else what most letters are."""
    carried = pc.coalesce(scripts, of_distinct(languages, lambda code: canonical(code)[1]))
    missing = carried.is_null()
    if not missing.true_count:
        return carried
    if missing.true_count == len(texts):
        return scripts_of(texts)
    return pc.replace_with_mask(carried, missing, scripts_of(texts.filter(missing)))
