"""Read a pack's `index.json`: what each source holds, so that a plan is made without reading data. No torch, no Ray."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from polyglossa.artifact import read_json

INDEX = "index.json"

Part = Literal["bundles", "validation"]
"""Training or validation rows."""


class BundleSize(NamedTuple):
    """What one bundle holds."""

    examples: int
    texts: int
    tokens: int


class BundleFile(NamedTuple):
    """One file of bundles, a row group each."""

    path: str
    """Inside the pack."""
    bundles: int


@dataclass(frozen=True)
class PackedSource:
    """One source of a pack."""

    name: str
    task: str
    in_batch: bool
    """Whether the in-batch term applies to it."""
    examples: int
    negatives: int
    """Negatives that its rows have, all together."""
    instructions: Mapping[str, int]
    """Examples of each instruction of queries."""
    document_instructions: Mapping[str, int]
    bundles: tuple[BundleSize, ...]
    files: tuple[BundleFile, ...]
    validation: tuple[BundleSize, ...]
    validation_files: tuple[BundleFile, ...]

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "PackedSource":
        """Take an entry of the file."""
        return cls(
            name=entry["name"],
            task=entry["task"],
            in_batch=entry["in_batch"],
            examples=entry["examples"],
            negatives=entry["negatives"],
            instructions=entry["instructions"],
            document_instructions=entry["document_instructions"],
            bundles=_sizes(entry["bundles"]),
            files=_files(entry["files"]),
            validation=_sizes(entry["validation"]),
            validation_files=_files(entry["validation_files"]),
        )

    def sizes_of(self, part: Part) -> tuple[BundleSize, ...]:
        """Return the sizes of a part's bundles."""
        return self.bundles if part == "bundles" else self.validation

    def files_of(self, part: Part) -> tuple[BundleFile, ...]:
        """Return the files of a part."""
        return self.files if part == "bundles" else self.validation_files


@dataclass(frozen=True)
class PackIndex:
    """A whole pack."""

    sources: tuple[PackedSource, ...]
    tokenizer: str | None
    """Fingerprint of the tokenizer; None of a pack of texts."""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "PackIndex":
        """Take the file's content."""
        return cls(tuple(map(PackedSource.of, data["sources"])), data["tokenizer"])


def read_pack_index(pack_uri: str) -> PackIndex:
    """Read the index of a pack artifact."""
    return PackIndex.of(read_json(f"{pack_uri}/{INDEX}"))


def _sizes(entries: Sequence[Mapping[str, int]]) -> tuple[BundleSize, ...]:
    return tuple(BundleSize(entry["examples"], entry["texts"], entry["tokens"]) for entry in entries)


def _files(entries: Sequence[Mapping[str, Any]]) -> tuple[BundleFile, ...]:
    return tuple(BundleFile(entry["path"], entry["bundles"]) for entry in entries)
