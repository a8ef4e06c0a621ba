"""What an endpoint is asked to find out whether it is still the same: texts whose vectors tell apart what may change.

Scripts, cases and white space tell tokenizers and normalisation; prompts, whether the server adds or strips its own;
texts of growing length, each octave of words in another script, where it cuts. A server that gives the same vectors to
all of them is the same for us, wherever it runs.

Vectors of one model differ a little between batches, machines and restarts. How much is measured by asking a few texts
in company and alone. A panel that is as near to a known one as that takes its fingerprint.

P = texts of the panel, D = width.
"""

import base64
import hashlib
import json
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.fs as pafs

from polyglossa.artifact import open_storage, place_json, read_json
from polyglossa.endpoint.answer import Floats
from polyglossa.errors import RequestRefused

SHORT = (
    "The river runs through the old town.",
    "THE RIVER RUNS THROUGH THE OLD TOWN.",
    "  the river\n\truns   through the old town ",
    "Où coule la rivière ? Dûment noté.",
    "Река течёт через старый город.",
    "Ο ποταμός διασχίζει την παλιά πόλη.",
    "يجري النهر عبر المدينة القديمة.",
    "הנהר זורם דרך העיר העתיקה.",
    "नदी पुराने शहर से होकर बहती है।",
    "แม่น้ำไหลผ่านเมืองเก่า",
    "河流穿过古城。",
    "川は旧市街を流れる。",
    "강은 구시가지를 흐른다.",
    "def walk(path):\n    yield 3.14, path  # 🙂",
    "query: where does the river run",
    "passage: where does the river run",
    "Instruct: Find it.\nQuery: where does the river run",
)
_WORDS = (
    ["river", "town", "water", "stone", "bridge", "winter", "market", "garden", "window", "letter"],
    ["река", "город", "вода", "камень", "мост", "зима", "рынок", "сад", "окно", "письмо"],
    ["ποτάμι", "πόλη", "νερό", "πέτρα", "γέφυρα", "χειμώνας", "αγορά", "κήπος", "παράθυρο", "γράμμα"],
    ["نهر", "مدينة", "ماء", "حجر", "جسر", "شتاء", "سوق", "حديقة", "نافذة", "رسالة"],
    ["नदी", "शहर", "पानी", "पत्थर", "पुल", "सर्दी", "बाज़ार", "बगीचा", "खिड़की", "पत्र"],
    ["강", "도시", "물", "돌", "다리", "겨울", "시장", "정원", "창문", "편지"],
)
_LONGEST_WORDS = 6144


def long_text(words: int) -> str:
    """Write a text of so many words, none of its beginnings like the rest: every octave is in another script."""
    octaves = (_WORDS[(at + 1).bit_length() % len(_WORDS)] for at in range(words))
    return " ".join(octave[(at * 7 + at // 10) % len(octave)] + str(at % 97) for at, octave in enumerate(octaves))


LONG = ("", *(long_text(_LONGEST_WORDS // 4**step) for step in range(5, -1, -1)))
"""Asked one at a time, as an endpoint may refuse any of them."""

_ALONE = 3
_LEAST_TOLERANCE, _MOST_TOLERANCE = 1e-4, 0.02
_TEXTS = hashlib.blake2b(json.dumps([SHORT, LONG]).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Panel:
    """An endpoint's answers."""

    vector_PD: Floats
    """A vector for each text, zeros where it was refused."""
    refused: tuple[bool, ...]
    noise: float
    """Greatest distance between two vectors of the same text, relative to their length."""

    def agrees(self, other: "Panel") -> bool:
        """Tell whether two panels are one model's, give or take their noise."""
        if self.refused != other.refused or self.vector_PD.shape != other.vector_PD.shape:
            return False
        tolerance = min(max(_LEAST_TOLERANCE, 4 * self.noise, 4 * other.noise), _MOST_TOLERANCE)
        return _distance(self.vector_PD, other.vector_PD) <= tolerance

    def digest(self) -> str:
        """Hash the answers, rounded: noise of a millionth changes one hash in about a thousand."""
        width = self.vector_PD.shape[1]
        length_P = np.linalg.norm(self.vector_PD, axis=1)
        bits = np.unpackbits(np.frombuffer(hashlib.shake_128(b"panel").digest(width), np.uint8))
        sign_DK = 2.0 * bits[: 4 * width].reshape(width, 4) - 1
        # Four projections of unit variance a text, in steps of a tenth; and its length, in steps of about a fifth.
        seen_PK = self.vector_PD @ sign_DK / np.maximum(length_P, 1e-12)[:, None]
        steps = [np.rint(seen_PK * 10), np.rint(np.log2(np.maximum(length_P, 1e-12)) * 4)[:, None]]
        shape = [_TEXTS, width, *self.refused]
        rounded = np.concatenate(steps, axis=1).astype(np.int64)
        return hashlib.blake2b(json.dumps(shape).encode() + rounded.tobytes(), digest_size=16).hexdigest()


def ask_panel(embed: Callable[[Sequence[str]], Floats]) -> Panel:
    """Ask an endpoint all texts of the panel.

    Args:
        embed: gives vectors [N, D]; raises `RequestRefused` for texts that the endpoint does not take.
    """
    short_SD = embed(SHORT)
    alone_AD = np.concatenate([embed([text]) for text in SHORT[:_ALONE]])
    answers = [_answer(embed, text) for text in LONG]
    nothing_D = np.zeros(short_SD.shape[1], np.float32)
    vector_PD = np.stack([*short_SD, *(nothing_D if answer is None else answer for answer in answers)])
    refused = (*(False for _ in SHORT), *(answer is None for answer in answers))
    return Panel(vector_PD, refused, _distance(short_SD[:_ALONE], alone_AD))


def _answer(embed: Callable[[Sequence[str]], Floats], text: str) -> Floats | None:
    try:
        return embed([text])[0]
    except RequestRefused:
        return None


def _distance(left_PD: Floats, right_PD: Floats) -> float:
    """Greatest distance of two vectors of one text, relative to the longer."""
    lengths_P = np.maximum(np.linalg.norm(left_PD, axis=1), np.linalg.norm(right_PD, axis=1))
    return float((np.linalg.norm(left_PD - right_PD, axis=1) / np.maximum(lengths_P, 1e-12)).max())


def fingerprint_of(panel: Panel, model: str, root: str | None) -> str:
    """Name an endpoint: as the known one of this model whose panel agrees, else by its own panel, which is kept.

    Args:
        panel: the endpoint's answers.
        model: name that the endpoint knows.
        root: storage root; None knows no other panels and keeps none.
    """
    own = hashlib.blake2b(f"{model}/{panel.digest()}".encode(), digest_size=16).hexdigest()
    if root is None:
        return own
    folder = posixpath.join(root, "endpoints", hashlib.blake2b(model.encode(), digest_size=8).hexdigest())
    known = _known_panels(folder)
    if own not in known:
        same = next((name for name, other in known.items() if other.agrees(panel)), None)
        if same is not None:
            return same
        _keep(panel, folder, own)
    return own


def _known_panels(folder: str) -> dict[str, Panel]:
    filesystem, path = open_storage(folder)
    files = filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    names = sorted(posixpath.basename(file.path) for file in files if file.path.endswith(f".{_TEXTS}.json"))
    return {name.partition(".")[0]: _read(f"{folder}/{name}") for name in names}


def _read(uri: str) -> Panel:
    kept = read_json(uri)
    vector_PD = np.frombuffer(base64.b64decode(kept["vectors"]), "<f4").reshape(len(kept["refused"]), -1)
    return Panel(vector_PD.astype(np.float32), tuple(kept["refused"]), kept["noise"])


def _keep(panel: Panel, folder: str, name: str) -> None:
    """Write a panel, whole or not at all."""
    vectors = base64.b64encode(panel.vector_PD.astype("<f4").tobytes()).decode()
    place_json(f"{folder}/{name}.{_TEXTS}.json", {"vectors": vectors, "refused": panel.refused, "noise": panel.noise})
