"""Files as people have them, and a tiny model: what the tests of `init` on one's own data start from."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model.family_models import CONFIGS, save_sentence_transformer, word_tokenizer
from polyglossa.recipe import Recipe
from polyglossa.scaffold.begin import Wanted, begin, read_files
from polyglossa.scaffold.fine_tune import Machine
from polyglossa.scaffold.own.folder import SplitSource
from polyglossa.scaffold.own.prepare import split_source
from polyglossa.scaffold.own.rows import OwnRows, read_own
from polyglossa.scaffold.propose import propose

MACHINE = Machine(on_gpu=False, cores=2, memory_gib=24.0)
_THINGS = ("kettle", "lamp", "fridge", "oven", "radio", "camera", "printer", "scooter", "heater", "drill")
_VERBS = ("open", "clean", "charge", "reset", "mount", "repair", "silence", "store", "label", "return", "pack", "weigh")


def questions(count: int) -> list[dict[str, str]]:
    """Questions with an answer each, no two alike."""
    rows = []
    for number in range(count):
        thing, verb = _THINGS[number % len(_THINGS)], _VERBS[number // len(_THINGS) % len(_VERBS)]
        serial = f"{number:x}" * 3
        rows.append(
            {
                "question": f"how does one {verb} the {thing} {serial}",
                "answer": f"{serial} has a {verb} switch beside its {thing} plate, {serial[::-1]} turns it",
            }
        )
    return rows


def write(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows, an object a line."""
    path = folder / name
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


def rows_of(path: Path) -> OwnRows:
    """Read a file as its one source."""
    (proposal,), _ = read_files([path], propose)
    return read_own(proposal)


def split_of(path: Path) -> SplitSource:
    """Read and split a file."""
    return split_source(rows_of(path))


def tiny_model(folder: Path) -> str:
    """A BERT of width 32 that reads a dozen words."""
    tokenizer = word_tokenizer(before="<s>", behind="</s>")
    return save_sentence_transformer(folder, CONFIGS["bert"](), tokenizer, pooling="mean")


def started(folder: Path, paths: Sequence[Path], model: str, said: list[str], **wishes: Any) -> Recipe:
    """Run `init` in this process; its lines go to `said`."""
    proposals, documents = read_files(paths, propose)
    wanted = Wanted("mine", folder / "mine.yaml", model, "small", **wishes)
    return begin(wanted, proposals, documents, MACHINE, said.append)
