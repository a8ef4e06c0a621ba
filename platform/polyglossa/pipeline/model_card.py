"""The card of a trained model: what its directory says of itself to those who load, serve or judge it.

Written into the artifact before it is committed: `model/model_meta.json` for machines (with `training_datasets`, as in
mteb's ModelMeta, and `zero_shot`), `model/README.md` for people and model hubs.
"""

import json
import posixpath
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

import yaml

from polyglossa.artifact import Artifact, Draft, exists, open_storage, read_json
from polyglossa.provenance import FILE, Benchmark, Provenance, provenance


def describe_model(draft: Draft, name: str, parents: Iterable[Artifact]) -> None:
    """Write metadata and card into the draft's `model/`; nothing happens where it holds no model.

    Args:
        draft: of a stage that makes models.
        name: of the model.
        parents: the artifacts that it was made from.
    """
    folder = posixpath.join(draft.uri, "model")
    if not exists(posixpath.join(folder, "config.json")):
        return
    known, config = provenance(parents), read_json(posixpath.join(folder, "config.json"))
    sizes = {
        "embed_dim": max(config["matryoshka_dimensions"]),
        "matryoshka_dimensions": config.get("matryoshka_dimensions"),
    }
    _write(folder, FILE, json.dumps({"name": name, **sizes, **known.plain()}, indent=1, ensure_ascii=False) + "\n")
    _write(folder, "README.md", card(name, sizes, known))


_HELP = {
    "taught": "Learned from the vectors of",
    "guided": "Negatives of a batch were left out by",
    "mined": "Hard negatives were mined by",
    "re-scored": "False negatives were refused by",
    "wrote": "Pairs were written by",
}


def card(name: str, sizes: Mapping[str, Any], known: Provenance) -> str:
    """Lay the card out as Markdown with the YAML head that model hubs read."""
    widths = sorted(sizes["matryoshka_dimensions"] or (), reverse=True)
    head: dict[str, Any] = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "feature-extraction",
        "tags": ["sentence-transformers", "mteb", *(["matryoshka"] if len(widths) > 1 else [])],
    }
    hub = [model for model in known.adapted_from if not PurePosixPath(model).is_absolute()]
    if hub:
        head["base_model"] = hub
    cut = f"; they may be cut to {', '.join(map(str, widths[1:]))} and normalised again" if len(widths) > 1 else ""
    lines = [
        f"# {name}",
        "",
        f"Embeds text as vectors of {sizes['embed_dim']} numbers{cut}.",
        "",
        "## Training data",
        "",
        f"Sources: {', '.join(known.training_datasets) or 'none'}.",
        *([f"Started from {', '.join(known.adapted_from)}."] if known.adapted_from else []),
        *(f"{_HELP[what]}: {name}." for what, name in known.helped_by),
        *(["What these models were trained on is not known here."] if known.adapted_from or known.helped_by else []),
        "",
        "## Benchmarks that stayed out of training",
        "",
        *_evidence(known),
    ]
    return "---\n" + yaml.safe_dump(head, sort_keys=False, allow_unicode=True) + "---\n" + "\n".join(lines) + "\n"


def _evidence(known: Provenance) -> list[str]:
    rows = [_row(one, one.name in known.zero_shot) for one in known.kept_out]
    if not rows:
        return ["None is known: the training corpus was not checked against any benchmark."]
    return [
        "Rows with a text of these benchmarks stayed out of training; where a number is given, also rows that share a",
        "long passage with one of their texts. Other benchmarks were not checked.",
        "",
        "| benchmark | zero-shot | texts kept out | training rows removed for them |",
        "|---|---|---|---|",
        *rows,
    ]


def _row(one: Benchmark, zero_shot: bool) -> str:
    mark = "yes" if zero_shot else "no: trained on another part of it"
    if one.texts is None:
        return f"| {one.name} | {mark} | all, held out of the corpus | – |"
    return f"| {one.name} | {mark} | {one.texts:,} | {one.rows_removed or 0:,} |"


def _write(folder: str, file: str, text: str) -> None:
    filesystem, path = open_storage(posixpath.join(folder, file))
    with filesystem.open_output_stream(path) as stream:
        stream.write(text.encode())
