"""What an embedding job is, cut into units: pieces of files that are read, embedded and written apart. No Ray.

A unit's vectors are one Parquet file that appears whole or not at all, so a job that was killed goes on with the units
whose file is missing. `job.json` says what the vectors are of; another job never writes among them.
"""

import hashlib
import json
import posixpath
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from polyglossa.artifact import exists, open_storage, read_json, write_json
from polyglossa.engines.spec import EngineSpec
from polyglossa.errors import UserError
from polyglossa.readers.files import list_files
from polyglossa.readers.pieces import Piece, cut
from polyglossa.storage import absolute, revision_of
from polyglossa.vectors import OUTPUT_DTYPES

UNIT_BYTES = 4 * 2**20
"""Text of a unit: some thousand texts, so that workers share a file and a killed job loses little."""
JOB = "job.json"


@dataclass(frozen=True)
class EmbedJob:
    """What is embedded, how, and where the vectors go."""

    files: tuple[str, ...]
    """Paths, globs or URIs."""
    model: str
    """Model directory."""
    out: str
    text_column: str = "text"
    id_column: str | None = None
    """Column of ids; None writes FILE:START:ROW, the row's place."""
    prompt: str | None = None
    """Name of one of the model's prompts; None takes its default, an empty one leaves texts bare."""
    width: int | None = None
    dtype: str = "float32"
    """Of the vectors: one of `vectors.OUTPUT_DTYPES`."""
    engine: EngineSpec = field(default_factory=EngineSpec)
    chunk_tokens: int = 2048
    """Token budget of one forward pass."""

    def shape(self) -> dict[str, Any]:
        """Everything that changes a vector or its place; two jobs that differ in it do not share a folder."""
        shape = asdict(replace(self, out="", files=tuple(sorted(self.files))))
        shape.pop("chunk_tokens")
        shape["model"] = [absolute(self.model), revision_of(self.model)]
        return shape


@dataclass(frozen=True)
class Unit:
    """A piece of a file and where its vectors go."""

    piece: Piece
    kind: str
    """The file's format."""
    name: str
    """`part-HASH`: of what is read alone, so a file that is added changes no other unit."""

    def target(self, out: str) -> str:
        """Where the unit's vectors lie."""
        return posixpath.join(out, "vectors", f"{self.name}.parquet")


def plan_units(job: EmbedJob) -> list[Unit]:
    """Cut the files of a job into units, in order.

    Raises:
        DataError: a pattern matches nothing, or a file cannot be cut.
        UserError: a file has no format that is read.
    """
    units = []
    for file in list_files(job.files, "embed"):
        if file.format is None:
            raise UserError(f"{file.uri}: no format that is read; there are .jsonl, .csv, .tsv and .parquet.")
        for piece in cut(file, file.format, UNIT_BYTES):
            place = f"{file.uri}/{file.size}/{file.modified}/{piece.start}/{piece.end}"
            units.append(Unit(piece, file.format, f"part-{hashlib.sha256(place.encode()).hexdigest()[:16]}"))
    return units


def missing_units(job: EmbedJob, units: Sequence[Unit]) -> list[Unit]:
    """Return the units whose vectors are not there yet."""
    return [unit for unit in units if not exists(unit.target(job.out))]


def open_job(job: EmbedJob) -> None:
    """Make the folder of a job, or take up the one that is there.

    Raises:
        UserError: the folder holds another job's vectors, or something else.
    """
    shape = json.loads(json.dumps(job.shape()))
    place = posixpath.join(job.out, JOB)
    if exists(place):
        known = read_json(place)["job"]
        odd = [name for name in shape if known.get(name) != shape[name]]
        if odd:
            raise UserError(
                f"{job.out}: holds vectors of another job ({odd[0]} was {json.dumps(known.get(odd[0]))[:120]}); name "
                "another folder, or remove it."
            )
        return
    filesystem, path = open_storage(job.out)
    if exists(job.out) and filesystem.get_file_info(_selector(path)):
        raise UserError(f"{job.out}: is there already and holds no embedding job; name another folder.")
    filesystem.create_dir(posixpath.join(path, "vectors"), recursive=True)
    write_json(place, {"job": shape})


def _selector(path: str) -> Any:
    import pyarrow.fs as pafs

    return pafs.FileSelector(path)


def check_job(job: EmbedJob, widths: Sequence[int], prompts: Sequence[str]) -> None:
    """Refuse what the model does not have.

    Raises:
        UserError: a width, type or prompt that cannot be.
    """
    full = max(widths)
    if job.width is not None and not 1 <= job.width <= full:
        raise UserError(f"--width {job.width}: is not within 1 … {full}.")
    if job.dtype not in OUTPUT_DTYPES:
        raise UserError(f"--dtype {job.dtype}: is not one of {', '.join(OUTPUT_DTYPES)}.")
    if job.dtype == "binary" and (job.width or full) % 8:
        raise UserError(f"--dtype binary: {job.width or full} bits do not fill bytes; give a multiple of 8 as --width.")
    if job.prompt and job.prompt not in prompts:
        raise UserError(f"--prompt {job.prompt}: the model has {', '.join(prompts) or 'none'}.")
