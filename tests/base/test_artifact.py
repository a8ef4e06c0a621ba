"""Protects promise 6: a stage that is killed or fails leaves no half artifact; an equal key is never made twice."""

from pathlib import Path

import pytest

from polyglossa.artifact import ArtifactKey, Draft, find, open_artifact, open_drafts, produce
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
    keys = [key(a=1), key(a=2)]

    def make_one_and_break() -> None:
        with open_drafts(str(tmp_path), keys) as drafts:
            write(drafts[0])
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        make_one_and_break()
    assert [find(str(tmp_path), one) for one in keys] == [None, None]
    assert not Path(keys[0].uri(str(tmp_path))).exists()
    with open_drafts(str(tmp_path), keys) as drafts:
        for draft in drafts:
            write(draft)
    assert all(find(str(tmp_path), one) is not None for one in keys)
