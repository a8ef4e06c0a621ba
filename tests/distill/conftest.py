"""A student, teachers and a pack, and stores made from them without Ray."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from polyglossa.artifact import Artifact, ArtifactKey, Draft, produce
from polyglossa.data.pack_index import INDEX
from polyglossa.distill.store import Remembered, store_schema, teacher_bundles
from polyglossa.distill.teacher import Teacher
from polyglossa.recipe.sections.teacher import TeacherConfig
from train.toys import make_model, make_pack

MakeStore = Callable[..., Artifact]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the module's artifacts lie."""
    return str(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def student(root: str) -> Artifact:
    """32 wide."""
    return make_model(root)


@pytest.fixture(scope="module")
def teacher(root: str) -> Artifact:
    """48 wide."""
    return make_model(root, hidden=48, seed=1)


@pytest.fixture(scope="module")
def narrow(root: str) -> Artifact:
    """16 wide."""
    return make_model(root, hidden=16, seed=2)


@pytest.fixture(scope="module")
def pack(root: str) -> Artifact:
    """The pack that students read."""
    return make_pack(root)


@pytest.fixture(scope="module")
def make_store(root: str) -> MakeStore:
    """Make a teacher's store of a pack, as the stage does, in this process."""

    def make(model: Artifact, pack: Artifact, **settings: object) -> Artifact:
        config = TeacherConfig.model_validate({"dtype": "float32", **settings})

        def write(draft: Draft) -> None:
            embeds = Teacher(model.at("model"), config, 1, gpu=False)
            width = 0
            for source in pack.read_json(INDEX)["sources"]:
                path = source["files"][0]["path"]
                file = pq.ParquetFile(Path(pack.at(path)))
                bundles = (file.read_row_group(group) for group in range(file.num_row_groups))
                with pq.ParquetWriter(draft.at(path), store_schema(config.stored)) as writer:
                    for row in teacher_bundles(
                        bundles, embeds.states, remembered=Remembered(1 << 20), window_texts=100
                    ):
                        width = len(row.column("states")[0].as_py()[0])
                        writer.write_table(row)
            draft.count(width=width)

        roles = {"model": model, "pack": pack}
        return produce(root, ArtifactKey("distill", "toy", 1, config.model_dump(mode="json"), roles), write)

    return make
