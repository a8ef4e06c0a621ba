"""Embedded source `cldr`: names of territories, languages, currencies and scripts in the languages of CLDR.

A concept is a kind and a code (`territory/DE`); Babel holds its name in up to 250 languages. Concepts, not rows, are
held out, by connected components of shared surface forms, so no held-out name of any language is seen in training.
Pure: reads Babel's installed data, returns tables.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
from babel import localedata
from babel.core import get_global
from langcodes import Language

from polyglossa.corpus.clean.text import fold, normalise_text
from polyglossa.corpus.sources.candidates import candidate_table
from polyglossa.corpus.sources.heldout_set import heldout_set
from polyglossa.corpus.sources.source import EMBEDDED_BYTES, CorpusSource, Reading, Shard
from polyglossa.corpus.sources.translations import Translation, draw, pairs_of, translation_table
from polyglossa.recipe.sections.sources import CldrSource

ENGLISH = "eng"
MIN_NAMES = 200
"""Languages with fewer names are left out."""

_SECTIONS = {
    "territory": "territories",
    "language": "languages",
    "currency": "currency_names",
    "script": "scripts",
}


class Name(NamedTuple):
    """One concept's name in one language."""

    concept: str
    """`<kind>/<code>`."""
    language: str
    """ISO 639-3, with the script behind it where CLDR has the language in a second one (`uzb_Cyrl`)."""
    script: str
    """ISO 15924."""
    text: str

    @property
    def kind(self) -> str:
        """Kind of the concept: territory, language, currency or script."""
        return self.concept.partition("/")[0]


def read_names() -> list[Name]:
    """Read every name from Babel, sorted by concept and language.

    Left out: territory variants of a language, names that only repeat the code or are inherited from another
    language, and languages with fewer than `MIN_NAMES` names.
    """
    names: list[Name] = []
    for identifier in _locales():
        found = list(_names_of(identifier))
        if len(found) >= MIN_NAMES:
            names += found
    return sorted(names)


def _locales() -> list[str]:
    """Languages and script variants, sorted, so that a language comes before its variants."""
    split = {identifier: identifier.split("_") for identifier in localedata.locale_identifiers()}
    return sorted(name for name, parts in split.items() if len(parts) == 1 or (len(parts) == 2 and len(parts[1]) == 4))


def _names_of(identifier: str) -> Iterable[Name]:
    data = localedata.load(identifier, merge_inherited=False)
    base, _, script = identifier.partition("_")
    language = Language.get(base).to_alpha3() + (f"_{script}" if script else "")
    script = script or Language.get(base).maximize().script or "Zyyy"
    parent = get_global("parent_exceptions").get(identifier)
    inherited = localedata.load(parent) if parent and parent != "root" else {}
    for kind, section in _SECTIONS.items():
        for code, name in data.get(section, {}).items():
            text = normalise_text(name) if isinstance(name, str) else ""
            if (
                text
                and fold(text).replace("-", "_") != code.casefold()
                and inherited.get(section, {}).get(code) != name
            ):
                yield Name(f"{kind}/{code}", language, script, text)


def heldout_concepts(names: Sequence[Name], share: float, seed: int) -> frozenset[str]:
    """Choose the concepts to hold out.

    Concepts that share a name in any two languages are connected. Components are taken in the order of their hash
    until `share` of all concepts is reached; one that would overshoot (the giant component) stays in training.

    Args:
        names: all names.
        share: share of concepts to hold out.
        seed: salt of the choice.
    """
    components = _components(names)
    wanted = round(share * sum(map(len, components)))
    chosen: list[str] = []
    for component in sorted(components, key=lambda concepts: draw(seed, concepts[0])):
        if len(chosen) + len(component) <= wanted:
            chosen += component
    return frozenset(chosen)


def _components(names: Sequence[Name]) -> list[list[str]]:
    """Concepts connected through shared surface forms, each component sorted (union-find, path halving)."""
    root = {name.concept: name.concept for name in names}

    def find(concept: str) -> str:
        while root[concept] != concept:
            root[concept] = root[root[concept]]
            concept = root[concept]
        return concept

    first: dict[str, str] = {}
    for name in names:
        one, other = find(first.setdefault(fold(name.text), name.concept)), find(name.concept)
        root[max(one, other)] = min(one, other)
    components: defaultdict[str, list[str]] = defaultdict(list)
    for concept in sorted(root):
        components[find(concept)].append(concept)
    return list(components.values())


def translation_candidates(
    names: Sequence[Name], heldout: frozenset[str], *, pairs_per_name: int, seed: int, source: str
) -> pa.Table:
    """Pair every name with the English name of its concept and with names in other languages (task `bitext`).

    Args:
        names: all names.
        heldout: concepts whose rows get split `heldout`.
        pairs_per_name: partners of each name, English included; the others, and which side asks, are drawn by hash.
        seed: salt of the draws.
        source: name that the rows carry.
    """
    by_concept: defaultdict[str, list[Translation]] = defaultdict(list)
    for name in names:
        by_concept[name.concept].append(Translation(*name))
    pairs = [pair for members in by_concept.values() for pair in pairs_of(members, ENGLISH, pairs_per_name, seed)]
    splits = ["heldout" if query.thing in heldout else None for query, _ in pairs]
    return translation_table(pairs, splits, source)


def kind_candidates(names: Sequence[Name], heldout: frozenset[str], *, source: str) -> pa.Table:
    """Pair each distinct name with the word for its kind (task `classification`).

    Names that stand for two kinds (Georgian is a language and a script) have no one answer and are left out.
    """
    kinds: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        kinds[fold(name.text)].add(name.kind)
    distinct = {name.text: name for name in reversed(names) if len(kinds[fold(name.text)]) == 1}
    chosen = sorted(distinct.values())
    labels = tuple(_SECTIONS)
    negatives = {kind: [label for label in labels if label != kind] for kind in labels}
    return candidate_table(
        {
            "query": [name.text for name in chosen],
            "query_language": [name.language for name in chosen],
            "query_script": [name.script for name in chosen],
            "positives": [[name.kind] for name in chosen],
            "positive_language": [ENGLISH] * len(chosen),
            "positive_script": ["Latn"] * len(chosen),
            "negatives": [negatives[name.kind] for name in chosen],
            "group": [name.kind for name in chosen],
            "label": [name.kind for name in chosen],
            "split": ["heldout" if name.concept in heldout else None for name in chosen],
        },
        task="classification",
        source=source,
    )


def heldout_search(names: Sequence[Name], heldout: frozenset[str]) -> tuple[list[dict[str, object]], list[str]]:
    """Make the held-out evaluation: every held-out name asks for the English name of its concept.

    Returns:
        Queries (query, language, script, positives, same_as_english), one for each text of a language, and the texts
        of the corpus: all held-out English names. A text that names two concepts has both as positives.
    """
    english = {name.concept: name.text for name in names if name.language == ENGLISH and name.concept in heldout}
    queries: dict[tuple[str, str], dict[str, object]] = {}
    positives: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for name in names:
        if name.concept in english and name.language != ENGLISH:
            key = (name.language, name.text)
            positives[key].append(english[name.concept])
            queries[key] = {"query": name.text, "language": name.language, "script": name.script}
    for key, query in queries.items():
        query["positives"] = sorted(set(positives[key]))
        query["same_as_english"] = fold(key[1]) in {fold(text) for text in positives[key]}
    return [queries[key] for key in sorted(queries)], sorted(set(english.values()))


def names_by_language(names: Iterable[Name]) -> dict[str, int]:
    """Count names per language."""
    return dict(sorted(Counter(name.language for name in names).items()))


class Cldr(CorpusSource[CldrSource]):
    """Names of things, in every language that Babel knows."""

    checks_languages = False

    def shards(self, index: int) -> list[Shard]:
        """Read all at once."""
        return [Shard(index, size=EMBEDDED_BYTES)]

    def read(self, shard: Shard) -> Iterator[Reading]:
        """Make candidates, and the search that is held out."""
        names = read_names()
        heldout = heldout_concepts(names, self.config.heldout_share, self.config.seed)
        queries, corpus = heldout_search(names, heldout)
        yield Reading(
            translation_candidates(
                names,
                heldout,
                pairs_per_name=self.entry.pairs_per_name,
                seed=self.config.seed,
                source=self.entry.name,
            ),
            heldout=heldout_set(self.entry.name, "bitext", "accuracy", queries, corpus),
        )
        if self.entry.classification:
            yield Reading(kind_candidates(names, heldout, source=f"{self.entry.name}_kind"))


SOURCE = Cldr
