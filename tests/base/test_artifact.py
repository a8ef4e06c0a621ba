"""Protects promise 6: a stage that is killed or fails leaves no half artifact; an equal key is never made twice."""

from pathlib import Path

import pytest

from polyglossa.artifact import ArtifactKey, Draft, find, open_artifact, produce, produce_together
from polyglossa.errors import ArtifactError


def key(**config: object) -> ArtifactKey:
    return ArtifactKey("mine", "mine", 1, config)


def write(draft: Draft) -> None:
    draft.write_json([1, 2], "data", "rows.json")
    draft.count(rows=2)


def test_an_artifact_is_made_once(tmp_path: Path) -> None:
    made: list[str] = []

    def make(draft: Draft) -> None:
        made.append(draft.uri)
        write(draft)

    first = produce(str(tmp_path), key(a=1), make)
    again = produce(str(tmp_path), key(a=1), make)
    assert len(made) == 1
    assert first.hash == again.hash
    assert again.counts == {"rows": 2}
    assert again.read_json("data", "rows.json") == [1, 2]


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
def test_a_failing_stage_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def make(draft: Draft) -> None:
        write(draft)
        raise error

    with pytest.raises(type(error)):
        produce(str(tmp_path), key(a=1), make)
    assert not list(tmp_path.rglob("*.json"))
    assert find(str(tmp_path), key(a=1)) is None


def test_a_folder_without_a_marker_is_no_artifact_and_is_cleared(tmp_path: Path) -> None:
    left = Path(key(a=1).uri(str(tmp_path)))
    left.mkdir(parents=True)
    (left / "half.json").write_text("{")
    with pytest.raises(ArtifactError, match="no committed artifact"):
        open_artifact(str(left))
    produce(str(tmp_path), key(a=1), write)
    assert not (left / "half.json").exists()


def test_a_change_of_config_revision_or_parent_changes_the_address(tmp_path: Path) -> None:
    parent = produce(str(tmp_path), key(a=1), write)
    other = produce(str(tmp_path), key(a=2), write)
    keys = [
        ArtifactKey("pack", "pack", 1, {}, {"mine": parent}),
        ArtifactKey("pack", "pack", 1, {}, {"mine": other}),
        ArtifactKey("pack", "pack", 2, {}, {"mine": parent}),
        ArtifactKey("pack", "pack", 1, {"x": 1}, {"mine": parent}),
    ]
    assert len({key.hash for key in keys}) == 4


def test_children_of_equal_content_share_their_address(tmp_path: Path) -> None:
    def same(draft: Draft) -> None:
        write(draft)
        draft.identity = "content"

    one, two = (produce(str(tmp_path), key(a=a), same) for a in (1, 2))
    children = [ArtifactKey("pack", "pack", 1, {}, {"tokenizer": parent}) for parent in (one, two)]
    assert one.uri != two.uri
    assert children[0].hash == children[1].hash


def test_artifacts_made_together_are_all_there_or_none(tmp_path: Path) -> None:
    produce(str(tmp_path), key(a=1), write)
    asked: list[int] = []

    def make(drafts: object) -> None:
        asked.append(len(list(drafts)))  # type: ignore[call-overload]
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        produce_together(str(tmp_path), [key(a=1), key(a=2), key(a=3)], make)
    assert asked == [2]
    assert find(str(tmp_path), key(a=1)) is not None
    assert find(str(tmp_path), key(a=2)) is None
