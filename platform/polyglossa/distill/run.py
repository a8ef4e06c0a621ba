"""Stage `distill`: a frozen teacher embeds every text of a pack once; students read the vectors instead of running it.

Inputs `model` (the teacher) and `pack`; of a teacher from outside, a pack of texts alone (see `outside.py`). One store
serves every student and every trial of that teacher. Files and row groups are the pack's; text ids travel along and are
checked by whoever reads them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from numpy.typing import NDArray

from polyglossa.artifact import Artifact, Draft, open_storage
from polyglossa.data.pack_index import read_pack_index
from polyglossa.distill.store import Remembered, States, store_schema, teacher_bundles
from polyglossa.distill.teacher import Teacher
from polyglossa.errors import DataError
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.teacher import TeacherConfig
from polyglossa.runtime.console import track

STAGE = "distill"
REVISION = 2

_BLOCK_TEXTS = 1024
_WINDOW_TEXTS = 16_384
_REMEMBERED_BYTES = 256 << 20


def run(config: TeacherConfig, inputs: Mapping[str, Artifact], draft: Draft, placement: StagePlacement) -> None:
    """Write the teacher store of a pack."""
    if config.outside is not None:
        from polyglossa.distill.outside import write_outside_store

        write_outside_store(config, config.outside, inputs["pack"], draft, placement)
        return
    pack = inputs["pack"]
    sources = read_pack_index(pack.uri).sources
    files = [file.path for source in sources for file in source.files]
    texts = sum(bundle.texts for source in sources for bundle in source.bundles)
    model = inputs["model"].at("model")
    from polyglossa.runtime.nodes import stage_precision
    from polyglossa.runtime.progress_board import start_progress_board

    precision = stage_precision(config.dtype, placement)
    draft.precision = precision.plain()
    computed = config.changed(dtype=precision.dtype)
    actor: Any = ray.remote(Teacher)
    teachers = [
        actor.options(**placement.ray_options).remote(model, computed, placement.threads, placement.gpus > 0)
        for _ in range(placement.workers)
    ]
    board = start_progress_board()
    waiting = iter(files)
    pending: list[Any] = []
    written = []
    with track("distill", total=texts, unit="texts") as bar:
        while True:
            # A writer is a process that mostly waits for teachers; two for each keep them busy, however many files.
            for path in islice(waiting, 2 * placement.workers - len(pending)):
                pending.append(_write.remote(pack.at(path), draft.at(path), config.stored, teachers, board))
            if not pending:
                break
            ready, pending = ray.wait(pending, timeout=0.5)
            written += ray.get(ready)
            bar.advance(_done(board) - bar.done)
    for teacher in teachers:
        ray.kill(teacher)
    width = {width for _, width in written}
    if len(width) > 1:
        raise DataError(f"teacher states of widths {sorted(width)} in one store")
    draft.count(texts=texts, embedded=sum(count for count, _ in written), width=width.pop())


@ray.remote(num_cpus=0)
def _write(pack_file: str, store_file: str, stored: str, teachers: Sequence[Any], board: Any) -> tuple[int, int]:
    """Write the store's file for one file of the pack; returns texts embedded and their width."""
    embedded, done, width = 0, 0, 0

    def embed(texts: Sequence[NDArray[np.uint32]]) -> States:
        nonlocal embedded
        embedded += len(texts)
        return _embed(texts, teachers, lambda count: board.tell.remote(pack_file, done + count, ""))

    filesystem, path = open_storage(store_file)
    with pq.ParquetWriter(path, store_schema(stored), filesystem=filesystem, compression="zstd") as writer:
        rows = teacher_bundles(
            _bundles(pack_file), embed, remembered=Remembered(_REMEMBERED_BYTES), window_texts=_WINDOW_TEXTS
        )
        for row in rows:
            writer.write_table(row)
            states = row.column("states").chunk(0).flatten()
            done, width = done + len(states), len(states[0])
            board.tell.remote(pack_file, done, "")
    return embedded, width


def _bundles(pack_file: str) -> Iterator[pa.Table]:
    filesystem, path = open_storage(pack_file)
    with pq.ParquetFile(path, filesystem=filesystem) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=["source", "bundle", "text_ids", "tokens"])


def _embed(texts: Sequence[NDArray[np.uint32]], teachers: Sequence[Any], tell: Callable[[int], object]) -> States:
    """Deal texts to the teachers in blocks of like length; states come back in the texts' order."""
    order = sorted(range(len(texts)), key=lambda text: -len(texts[text]))
    blocks = [order[start : start + _BLOCK_TEXTS] for start in range(0, len(order), _BLOCK_TEXTS)]
    idle, running = list(teachers), dict[Any, tuple[Any, list[int]]]()
    state_ND: States | None = None
    ready = 0
    while blocks or running:
        while idle and blocks:
            teacher, block = idle.pop(), blocks.pop(0)
            running[teacher.states.remote([texts[text] for text in block])] = (teacher, block)
        (done,), _ = ray.wait(list(running))
        teacher, block = running.pop(done)
        idle.append(teacher)
        found = ray.get(done)
        state_ND = np.empty((len(texts), found.shape[1]), found.dtype) if state_ND is None else state_ND
        state_ND[block] = found
        ready += len(block)
        tell(ready)
    assert state_ND is not None
    return state_ND


def _done(board: Any) -> int:
    progress, _ = ray.get(board.read.remote())
    return sum(done for done, _ in progress.values())
