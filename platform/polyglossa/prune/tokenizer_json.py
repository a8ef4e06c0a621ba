"""A BPE tokenizer with fewer tokens: pure rewriting of `tokenizer.json` data. No file is read or written here.

Removing tokens never makes text unwritable: tokens that no merge makes (bytes, characters, special tokens) always stay.
Kept tokens are closed over the merges that make them, and then every word that was written with kept tokens alone is
still written the same way: each merge on its way is kept, and fewer rivals never change which merge comes first.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from polyglossa.errors import UserError

Json = dict[str, Any]


def merges_of(tokenizer: Json) -> list[tuple[str, str]]:
    """Return the merges in order of priority.

    Raises:
        UserError: the tokenizer is not a BPE.
    """
    model = tokenizer["model"]
    if model.get("type") != "BPE":
        raise UserError(
            f"prune.vocabulary: the tokenizer is a {model.get('type')}; only BPE can lose tokens. Leave it out."
        )
    return [tuple(pair) if isinstance(pair, list) else tuple(pair.split(" ", 1)) for pair in model["merges"]]


def vocabulary_of(tokenizer: Json) -> dict[str, int]:
    """Return token → id, added tokens included."""
    added = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    return {**tokenizer["model"]["vocab"], **added}


def parts_of(tokenizer: Json) -> dict[int, tuple[int, int]]:
    """Return, for each token that a merge makes, the two tokens it is made of (by the merge of highest priority)."""
    ids: dict[str, int] = tokenizer["model"]["vocab"]
    parts: dict[int, tuple[int, int]] = {}
    for left, right in merges_of(tokenizer):
        parts.setdefault(ids[left + right], (ids[left], ids[right]))
    return parts


def always_kept(tokenizer: Json) -> set[int]:
    """Return the tokens without which some text could not be written: those that no merge makes."""
    return set(vocabulary_of(tokenizer).values()) - set(parts_of(tokenizer))


def close(tokens: Iterable[int], parts: Mapping[int, tuple[int, int]], kept: set[int]) -> set[int]:
    """Return what must join `kept` so that each of the tokens can be made: itself, its parts, their parts."""
    missing: set[int] = set()
    queue = list(tokens)
    while queue:
        token = queue.pop()
        if token in kept or token in missing:
            continue
        missing.add(token)
        queue.extend(parts.get(token, ()))
    return missing


def shrink_tokenizer(tokenizer: Json, kept: Sequence[int]) -> Json:
    """Return the tokenizer with the kept tokens alone, renumbered 0 … n − 1 in the order given.

    Args:
        tokenizer: content of a `tokenizer.json`.
        kept: ids of the parent; new id = position. Must be closed over merges and hold what is always kept.
    """
    new_ids = {old: new for new, old in enumerate(kept)}
    model = dict(tokenizer["model"])
    vocabulary = {token: new_ids[old] for token, old in model["vocab"].items() if old in new_ids}
    model["vocab"] = dict(sorted(vocabulary.items(), key=lambda item: item[1]))
    model["merges"] = [list(pair) for pair in merges_of(tokenizer) if _survives(pair, vocabulary)]
    return {
        **tokenizer,
        "model": model,
        "added_tokens": [{**token, "id": new_ids[token["id"]]} for token in tokenizer["added_tokens"]],
        "post_processor": _renumber(tokenizer.get("post_processor"), new_ids),
    }


def _survives(pair: tuple[str, str], vocabulary: Collection[str]) -> bool:
    left, right = pair
    return left in vocabulary and right in vocabulary and left + right in vocabulary


def _renumber(processor: Json | None, new_ids: Mapping[int, int]) -> Json | None:
    """Renumber the special tokens that a post-processor appends, at any depth."""
    if processor is None:
        return None
    kind, renumbered = processor["type"], dict(processor)
    if kind == "Sequence":
        renumbered["processors"] = [_renumber(inner, new_ids) for inner in processor["processors"]]
    elif kind == "TemplateProcessing":
        renumbered["special_tokens"] = {
            name: {**special, "ids": [new_ids[old] for old in special["ids"]]}
            for name, special in processor["special_tokens"].items()
        }
    elif kind in ("BertProcessing", "RobertaProcessing"):
        for end in ("sep", "cls"):
            renumbered[end] = [processor[end][0], new_ids[processor[end][1]]]
    return renumbered
