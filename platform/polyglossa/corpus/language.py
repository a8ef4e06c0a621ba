"""Which language and script a text is in: given codes brought to one form, missing ones identified.

The built-in identifier is py3langid (97 languages, its model comes with the package); a fastText model such as GlotLID
is used where the recipe names its file.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from fontTools.unicodedata import Scripts  # type: ignore[import-untyped]  # ships no types
from langcodes import Language, standardize_tag, tag_is_valid

from polyglossa.errors import DataError

Identified = tuple[str, float]
"""ISO 639-3 and a confidence in [0, 1]."""
_SCRIPT_SAMPLE = 48
"""Characters whose script is looked at."""
_SHARED_SCRIPTS = ("Zyyy", "Zinh", "Zzzz")
_WRITTEN_AS = {"Hira": "Jpan", "Kana": "Jpan", "Hang": "Kore"}
SPACELESS_SCRIPTS = frozenset({"Hani", "Hans", "Hant", "Hira", "Kana", "Jpan", "Thai", "Laoo", "Khmr", "Mymr", "Tibt"})


@functools.cache
def canonical(code: str) -> tuple[str, str | None]:
    """Bring a given code to ISO 639-3 and a script: `zh-Hant-TW` → (`zho`, `Hant`), `por_BR` → (`por`, None).

    Codes that are not BCP 47 (`python`) stay as they are.
    """
    language, *others = code.replace("_", "-").split("-")
    script = next((part.title() for part in others if len(part) == 4 and part.isalpha()), None)
    if len(language) == 2 and tag_is_valid(language):
        language = Language.get(language).to_alpha3()
    return language, script


@functools.cache
def _macrolanguage(code: str) -> str:
    tag = standardize_tag(code, macro=True) if tag_is_valid(code) else code
    return "no" if tag in ("nb", "nn") else tag  # identifiers say Norwegian; the library keeps its two forms apart


def same_language(one: str, other: str) -> bool:
    """Tell whether two codes are one language, or one macrolanguage (`arb` and `ara`)."""
    return one == other or _macrolanguage(one) == _macrolanguage(other)


def identifier(model: str | None) -> Callable[[str], Identified]:
    """Return the function that identifies a text's language.

    Args:
        model: path of a fastText model; None takes py3langid.

    Raises:
        DataError: the model or the library that reads it is missing.
    """
    return _py3langid() if model is None else _fasttext(model)


@functools.cache
def _py3langid() -> Callable[[str], Identified]:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # type: ignore[import-untyped]  # ships no types

    model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

    def identify(text: str) -> Identified:
        code, confidence = model.classify(text)
        return canonical(code)[0], float(confidence)

    return identify


@functools.cache
def _fasttext(path: str) -> Callable[[str], Identified]:
    try:
        import fasttext  # type: ignore[import-not-found]  # optional: read where the recipe names a model

        model = fasttext.load_model(path)
    except ImportError:
        raise DataError(
            f"corpus.languages.model: {path} needs fastText, which is not installed. Install it with pip."
        ) from None
    except ValueError as error:
        raise DataError(f"corpus.languages.model: {path} cannot be read as a fastText model ({error}).") from None

    def identify(text: str) -> Identified:
        labels, confidences = model.predict(text.replace("\n", " "))
        return canonical(labels[0].removeprefix("__label__"))[0], min(1.0, float(confidences[0]))

    return identify


@functools.cache
def known_languages(model: str | None) -> frozenset[str] | None:
    """Languages that the built-in identifier can name; None: not known, take it for all."""
    if model is not None:
        return None
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    labels = LanguageIdentifier.from_model_file(MODEL_FILE).labels
    return frozenset(_macrolanguage(canonical(str(label))[0]) for label in labels)


def is_known(language: str, model: str | None) -> bool:
    """Tell whether the identifier could have named a language."""
    known = known_languages(model)
    return known is None or _macrolanguage(language) in known


@functools.cache
def _script_table() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Starts of ranges of code points, the script of each as an index, and the scripts."""
    names = sorted(set(Scripts.VALUES))
    index = {name: place for place, name in enumerate(names)}
    return np.array(Scripts.RANGES), np.array([index[value] for value in Scripts.VALUES]), names


def scripts_of(texts: pa.ChunkedArray) -> list[str | None]:
    """Return the script (ISO 15924) of most letters at the start of each text; None where no letter has one.

    Kana beside Han is Japanese writing (`Jpan`); Han alone is `Hani`.
    """
    starts = pc.utf8_slice_codeunits(texts, 0, _SCRIPT_SAMPLE).fill_null("").to_pylist()
    codes = np.frombuffer("".join(starts).encode("utf-32-le", "surrogatepass"), np.uint32)
    ranges, values, names = _script_table()
    script = values[np.searchsorted(ranges, codes, side="right") - 1]
    row = np.repeat(np.arange(len(starts)), [len(start) for start in starts])
    votes = np.bincount(row * len(names) + script, minlength=len(starts) * len(names)).reshape(-1, len(names))
    return _elected(votes, names)


def _elected(votes: np.ndarray, names: Sequence[str]) -> list[str | None]:
    """Votes [texts, scripts] → script of each text."""
    for shared in _SHARED_SCRIPTS:
        if shared in names:
            votes[:, names.index(shared)] = 0
    kana = votes[:, names.index("Hira")] + votes[:, names.index("Kana")]
    winners = [_WRITTEN_AS.get(names[place], names[place]) for place in votes.argmax(axis=1)]
    return [
        None if not counted else "Jpan" if winner in ("Hani", "Jpan") and sounds else winner
        for winner, counted, sounds in zip(winners, votes.max(axis=1).tolist(), kana.tolist(), strict=True)
    ]
