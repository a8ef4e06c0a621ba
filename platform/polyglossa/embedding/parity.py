"""Parity or a refusal: a model from outside gives sentence-transformers' vectors here, or it is not used.

A panel of texts (scripts, blanks, longer than the limit, with and without each of the model's prompts) is embedded by
both in float32, once per fingerprint; what was found is kept beside the vectors.
"""

import json
import os
import posixpath
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polyglossa.artifact import exists, place_json, read_json
from polyglossa.errors import DataError
from polyglossa.model.encoder import Encoder
from polyglossa.model.sentence_modules import read_modules, stock_names
from polyglossa.storage import absolute, local_folder
from polyglossa.vectors import Floats

LEAST_COSINE = 0.9999
_LONGEST = 2048
"""Most tokens of a panel text: a model that reads more is held to this."""
SCRIPTS = (
    "Where does the river that runs through the old town begin?",
    "a",
    "L'été dernier, nous avons traversé la forêt à vélo, sous la pluie.",
    "Река впадает в море недалеко от старого города.",
    "東京都の人口はおよそ千四百万人である。",
    "ما هي عاصمة البلاد وكم يبلغ عدد سكانها؟",
    "नदी पुराने शहर से होकर बहती है।",
    "แม่น้ำไหลผ่านเมืองเก่า",
    "እንዴት ነህ? ወንዙ የት ይጀምራል?",
    "def area(radius):\n    return 3.14159 * radius ** 2\n",
    "HELLO  World \t tab\nline — “quotes” 🙂 naïve café",
    "  leading and trailing blanks  ",
    "   ",
    "",
)


@dataclass(frozen=True)
class Parity:
    """What the panel found."""

    cosine: float
    """The least one."""
    text: str
    """Of which text."""
    texts: int


def check_parity(path: str, *, root: str | None = None, revision: str | None = None) -> Parity:
    """Hold a model's vectors to those of sentence-transformers, once per fingerprint.

    Args:
        path: model directory on any storage, or hub name.
        root: storage root under which the finding is kept; None keeps it in the user's cache.
        revision: commit on the hub.

    Raises:
        DataError: a vector's cosine to sentence-transformers' is below `LEAST_COSINE`, or the model cannot be read
            here or there.
    """
    if "://" in path:
        with local_folder(path) as folder:
            return check_parity(folder, root=root, revision=revision)
    encoder = Encoder.load(path, revision=revision)
    kept = posixpath.join(absolute(root) if root else _cache(), "parity", f"{encoder.fingerprint}.json")
    if exists(kept):
        return Parity(**read_json(kept))
    found = _compare(path, encoder, revision)
    place_json(kept, asdict(found))
    return found


def _cache() -> str:
    return str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "polyglossa")


def _compare(path: str, encoder: Encoder, revision: str | None) -> Parity:
    longest = _panel_tokens(encoder)
    ours = Encoder(encoder.model, encoder.tokenizer, max_tokens=longest)
    theirs = _open_theirs(path, encoder, longest, revision)
    texts = panel(encoder, longest)
    ours_NS, theirs_NS = ours.embed(texts).numpy(), _embed_theirs(theirs, texts)
    if ours_NS.shape != theirs_NS.shape:
        raise DataError(
            f"{path}: gives vectors {ours_NS.shape[1]} wide here and {theirs_NS.shape[1]} in sentence-transformers."
        )
    cosine_N = _cosines(ours_NS, theirs_NS)
    worst = int(np.argmin(cosine_N))
    found = Parity(round(float(cosine_N[worst]), 7), texts[worst][:80], len(texts))
    if not found.cosine >= LEAST_COSINE:
        raise DataError(_refusal(path, found, ours_NS[worst], theirs_NS[worst], _cause(ours, theirs, texts[worst])))
    return found


def panel(encoder: Encoder, longest: int) -> list[str]:
    """Return the texts: bare and behind each prompt of the model, and some that are longer than the limit."""
    long = " ".join(SCRIPTS[:10])
    over = " ".join([long] * (1 + longest * 4 // max(1, len(encoder.tokenize([long])[0]))))
    texts = [*SCRIPTS, long, over[: longest * 16]]
    prompts = dict.fromkeys(prompt for prompt in encoder.prompts.values() if prompt)
    return [*texts, *(prompt + text for prompt in list(prompts)[:8] for text in (*SCRIPTS[:4], "   ", ""))]


def _panel_tokens(encoder: Encoder) -> int:
    """Limit of the panel's texts: short, but longer than the windows, so that they are seen."""
    windows = [layer.before for layer in encoder.description.layers if layer.before is not None]
    return min(encoder.max_tokens, _LONGEST, max([256, *(window + 64 for window in windows)]))


def _open_theirs(path: str, encoder: Encoder, longest: int, revision: str | None) -> Any:
    """Load the model in sentence-transformers; one that says nothing of its pooling is put together as described."""
    import sentence_transformers as st  # seconds to load, and most runs never need it
    from sentence_transformers.models import Normalize, Pooling, Transformer

    kinds = {"use_safetensors": True, "dtype": "float32"}
    try:
        if read_modules(path, revision=revision).declared:
            model = st.SentenceTransformer(path, device="cpu", revision=revision, model_kwargs=kinds)
        else:
            names = stock_names(encoder.description.pooling)
            transformer = Transformer(path, model_kwargs={**kinds, "revision": revision})
            transformer.processor = encoder.tokenizer
            pooling = Pooling(encoder.description.hidden, pooling_mode=names)
            model = st.SentenceTransformer(modules=[transformer, pooling, Normalize()], device="cpu")
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"{path}: sentence-transformers cannot load it, so it cannot be held to it ({reason})."
        ) from None
    model.max_seq_length = longest
    return model


def _embed_theirs(model: Any, texts: Sequence[str]) -> Floats:
    vectors = model.encode(list(texts), prompt="", batch_size=8, show_progress_bar=False, convert_to_numpy=True)
    return np.asarray(vectors, np.float32)


def _cosines(ours_NS: Floats, theirs_NS: Floats) -> Floats:
    """Cosine of each pair; 1 where both are zero (a text of no tokens), −1 where one is or a value is not finite."""
    lengths_N = np.linalg.norm(ours_NS, axis=1) * np.linalg.norm(theirs_NS, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine_N = (ours_NS.astype(np.float64) * theirs_NS).sum(1) / lengths_N
    empty_N = ~ours_NS.any(1) & ~theirs_NS.any(1)
    return np.where(empty_N, 1.0, np.where(np.isfinite(cosine_N), cosine_N, -1.0))


def _cause(ours: Encoder, theirs: Any, text: str) -> str:
    """Guess why the two differ."""
    own = ours.tokenize([text])[0]
    other = theirs[0].tokenizer(text, truncation=True, max_length=ours.max_tokens)["input_ids"]
    if list(own) != list(other):
        return f"the tokens differ: {_few(own)} here, {_few(other)} there"
    if len(own) > 256:
        return "only long texts differ: windows, positions or the way they are cut"
    said = ours.description
    return f"the tokens are the same: attention ({said.answer()['attention']}), positions or pooling ({said.pooling})"


def _few(ids: Sequence[int]) -> str:
    shown = [str(one) for one in ids]
    return " ".join(shown if len(shown) <= 12 else [*shown[:6], "…", *shown[-5:]])


def _refusal(path: str, found: Parity, ours: Floats, theirs: Floats, cause: str) -> str:
    first = (json.dumps([round(float(value), 4) for value in vector[:4]]) for vector in (ours, theirs))
    return (
        f"{path}: its vector of {found.text!r} has cosine {found.cosine:.6f} to sentence-transformers' in float32 "
        f"(≥ {LEAST_COSINE} is asked); they begin {next(first)} here and {next(first)} there. Likely cause: {cause}. "
        "The model is not used: its scores and neighbours would be another model's."
    )
