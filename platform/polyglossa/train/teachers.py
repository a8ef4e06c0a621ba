"""Check that a teacher fits the data of its student, which would otherwise train on wrong targets."""

from collections.abc import Mapping, Sequence

import pyarrow.parquet as pq

from polyglossa.artifact import Artifact, open_storage, read_json
from polyglossa.data.pack_index import read_pack_index
from polyglossa.errors import DataError

# What of a pack decides which text stands where; tokenizer and longest text do not.
_ORDER = ("sources", "instructions", "hard_negatives", "max_examples", "bundle_rows", "seed")
_TEXTS = ("corpus", "mine")


def check_store(store: Artifact, pack: Artifact) -> int:
    """Check that a teacher store holds the texts of a pack; the pack that it was made from may have other tokens.

    Returns:
        Coordinates of its states.

    Raises:
        DataError: it is no store, or was made from other texts.
    """
    if store.manifest["stage"] != "distill":
        raise DataError(f"{store.uri}: is a {store.manifest['stage']} artifact, not a teacher store. Run distill.")
    made_from = store.manifest["parents"]["pack"]
    if made_from["hash"] != pack.hash:
        theirs = read_json(f"{made_from['uri']}/manifest.json")
        for role in _TEXTS:
            if _parent(theirs, role) != _parent(pack.manifest, role):
                raise DataError(f"{store.uri}: the teacher store was made from another {role}. Run distill again.")
        for setting in _ORDER:
            if theirs["config"].get(setting) != pack.manifest["config"].get(setting):
                raise DataError(
                    f"{store.uri}: the teacher store was made from a pack with {setting} "
                    f"{theirs['config'].get(setting)!r}, the student's has {pack.manifest['config'].get(setting)!r}. "
                    "Run distill again."
                )
    return int(store.counts["width"])


def check_live(teachers: Sequence[Artifact], inputs: Mapping[str, Artifact]) -> None:
    """Check that teachers can read the student's tokens.

    Raises:
        DataError: a teacher has another tokenizer.
    """
    from polyglossa.engine.tokenizers import load_stored_tokenizer
    from polyglossa.model.tokenizer_folder import tokenizer_fingerprint

    own = tokenizer_fingerprint(load_stored_tokenizer(inputs["model"].at("model")))
    for teacher in teachers:
        if tokenizer_fingerprint(load_stored_tokenizer(teacher.at("model"))) != own:
            raise DataError(
                f"{teacher.uri}: has another tokenizer than the student, so it cannot read the student's batches. "
                "Set `teacher_states: stored` for the member: stores go by text."
            )


def check_rescored(pack: Artifact) -> None:
    """Check that a pack brings what a re-scorer gave its candidates.

    Raises:
        DataError: it does not.
    """
    path = next(file.path for source in read_pack_index(pack.uri).sources for file in source.files if file.bundles)
    filesystem, place = open_storage(pack.at(path))
    if "candidate_scores" not in pq.read_schema(place, filesystem=filesystem).names:
        raise DataError(
            f"{pack.uri}: holds no scores of candidates, which the stage's `margin_mse` or `candidate_kl` learns from. "
            "Set mine.rescore, or leave these terms out."
        )


def _parent(manifest: Mapping[str, Mapping[str, Mapping[str, str]]], role: str) -> str | None:
    parent = manifest["parents"].get(role)
    return None if parent is None else parent["hash"]
