"""Identify the language and script of a text: bring given codes to one form, detect missing ones.

The built-in identifier is py3langid (97 languages, its model comes with the package); a fastText model such as GlotLID
is used where the recipe names its file.
"""

import functools
import re
import sys
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from fontTools.unicodedata import Scripts  # type: ignore[import-untyped]  # ships no types
from langcodes import Language, standardize_tag, tag_is_valid

from polyglossa.errors import DataError

Identified = tuple[str, float]
"""ISO 639-3 and a confidence in [0, 1]."""
UNDETERMINED = "und"
"""ISO 639-3 of a text whose language is not known."""
_SCRIPT_SAMPLE = 48
"""Characters whose script is looked at."""
_SHARED_SCRIPTS = ("Zyyy", "Zinh", "Zzzz")
_ALWAYS_COUNTED = ("Hani", "Hira", "Kana")
_WRITTEN_AS = {"Hira": "Jpan", "Kana": "Jpan", "Hang": "Kore"}
SPACELESS_SCRIPTS = frozenset({"Hani", "Hans", "Hant", "Hira", "Kana", "Jpan", "Thai", "Laoo", "Khmr", "Mymr", "Tibt"})


_BIBLIOGRAPHIC = {
    "alb": "sqi", "arm": "hye", "baq": "eus", "bur": "mya", "chi": "zho", "cze": "ces", "dut": "nld", "fre": "fra",
    "geo": "kat", "ger": "deu", "gre": "ell", "ice": "isl", "mac": "mkd", "mao": "mri", "may": "msa", "per": "fas",
    "rum": "ron", "scc": "srp", "scr": "hrv", "slo": "slk", "tib": "bod", "wel": "cym",
}  # fmt: skip
"""ISO 639-2/B and what it withdrew → ISO 639-3."""
_WRITTEN = {"cmn": "zho"}
"""Languages that tables of texts name two ways → the one that identifiers and CLDR use."""
_PROGRAMMING = {
    "ada", "assembly", "bash", "batchfile", "c", "c#", "c++", "clojure", "cobol", "code", "cpp", "csharp", "css",
    "cuda", "dart", "dockerfile", "elixir", "erlang", "f#", "fortran", "go", "golang", "groovy", "haskell", "html",
    "java", "javascript", "json", "julia", "kotlin", "latex", "lisp", "lua", "makefile", "markdown", "matlab", "nim",
    "objective-c", "ocaml", "pascal", "perl", "php", "powershell", "prolog", "python", "r", "ruby", "rust", "scala",
    "scheme", "shell", "solidity", "sql", "swift", "tcl", "tex", "toml", "typescript", "verilog", "vhdl", "xml",
    "yaml", "zig",
}  # fmt: skip
"""What stands in a column of languages where texts are programs."""


@functools.cache
def canonical(code: str) -> tuple[str, str | None]:
    """Bring a given code or name to ISO 639-3 and a script.

    `zh-Hant-TW` → (`zho`, `Hant`), `por_BR` → (`por`, None), `GER`, `German` and `Deutsch` → (`deu`, None).
    Programming languages, and what no rule knows (`is_language`), stay as they are.
    """
    return _resolved(code) or (code, None)


@functools.cache
def is_language(code: str) -> bool:
    """Tell whether a code or name is known: of a language, or of a programming language."""
    return _resolved(code) is not None


def named(code: str) -> str:
    """ISO 639-3; a second script of a language (`uzb_Cyrl`) stays in the name."""
    language, script = canonical(code)
    return f"{language}_{script}" if script and "_" in code else language


def _resolved(code: str) -> tuple[str, str | None] | None:
    language, *others = re.split("[-_]", code.strip().partition(".")[0])
    language = language.lower()
    script = next((part.title() for part in others if len(part) == 4 and part.isalpha()), None)
    if language in _BIBLIOGRAPHIC or language in _WRITTEN:
        return {**_BIBLIOGRAPHIC, **_WRITTEN}[language], script
    if len(language) == 2 and tag_is_valid(language):
        return Language.get(language).to_alpha3(), script
    if len(language) == 3 and (tag_is_valid(language) or language in _english_names().values()):
        return language, script
    folded = _folded_name(code)
    if folded in _PROGRAMMING:
        return folded, None
    found = _english_names().get(folded) or _english_names().get(_folded_name(code.partition("(")[0]))
    found = found or _own_names().get(folded)
    return None if found is None else _resolved(found)


def _folded_name(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


@functools.cache
def _english_names() -> dict[str, str]:
    """Folded English name → code, of CLDR."""
    from babel import Locale

    return {_folded_name(name): code for code, name in Locale("en").languages.items()}


@functools.cache
def _own_names() -> dict[str, str]:
    """Folded name of a language in itself → code, of every language in CLDR; some seconds, once, where one is asked."""
    from babel import Locale
    from babel.localedata import locale_identifiers

    codes = [code for code in locale_identifiers() if "_" not in code and code != "root"]
    names = ((Locale.parse(code).get_language_name(), code) for code in codes)
    return {_folded_name(name): code for name, code in names if name}


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
def _script_table() -> tuple[np.ndarray, list[str]]:
    """The script of every code point as an index, and the scripts; 1 MB, many times faster than a search of ranges."""
    names = sorted(set(Scripts.VALUES))
    index = {name: place for place, name in enumerate(names)}
    sizes = np.diff([*Scripts.RANGES, sys.maxunicode + 1])
    return np.repeat(np.array([index[value] for value in Scripts.VALUES], np.uint8), sizes), names


def scripts_of(texts: pa.Array) -> pa.Array:
    """Return the script (ISO 15924) of most letters at the start of each text; null where no letter has one.

    Kana beside Han is Japanese writing (`Jpan`); Han alone is `Hani`.
    """
    starts = pc.utf8_slice_codeunits(texts, 0, _SCRIPT_SAMPLE).fill_null("")
    lengths = pc.utf8_length(starts).to_numpy(zero_copy_only=False)
    codes = np.frombuffer("".join(starts.to_pylist()).encode("utf-32-le", "surrogatepass"), np.uint32)
    script_of_code, names = _script_table()
    script = script_of_code[codes]
    present = sorted({*np.flatnonzero(np.bincount(script)).tolist(), *map(names.index, _ALWAYS_COUNTED)})
    column = np.zeros(len(names), np.int64)
    column[present] = np.arange(len(present))
    row = np.repeat(np.arange(len(starts)), lengths) * len(present)
    votes = np.bincount(row + column[script], minlength=len(starts) * len(present)).reshape(-1, len(present))
    return _elect_script(votes, [names[place] for place in present])


def _elect_script(votes: np.ndarray, names: Sequence[str]) -> pa.Array:
    """Votes [texts, scripts] → script of each text."""
    votes[:, [names.index(shared) for shared in _SHARED_SCRIPTS if shared in names]] = 0
    winner = votes.argmax(axis=1)
    nobody = votes[np.arange(len(votes)), winner] == 0
    sounds = votes[:, [names.index("Hira"), names.index("Kana")]].any(axis=1)
    winner[sounds & (winner == names.index("Hani"))] = names.index("Hira")
    return pa.array([_WRITTEN_AS.get(name, name) for name in names]).take(pa.array(winner, mask=nobody))
