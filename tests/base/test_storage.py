"""Folders of any storage reach readers and writers that know local paths alone, and half-written ones reach nobody."""

from pathlib import Path

import pytest

from polyglossa.artifact import open_storage
from polyglossa.storage import cached_folder, local_folder, writable_folder
from s3 import loopback_s3


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    with writable_folder(str(tmp_path / "deep" / "model")) as folder:
        (Path(folder) / "a").write_text("x")
    with local_folder(str(tmp_path / "deep" / "model")) as folder:
        assert (Path(folder) / "a").read_text() == "x"


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail() -> None:
        with writable_folder(str(tmp_path / "model")) as folder:
            (Path(folder) / "a").write_text("x")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        fail()
    assert not (tmp_path / "model").exists()


def test_a_folder_in_a_bucket_is_fetched_once_and_again_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with loopback_s3() as bucket:
        for text in ("old", "newer"):
            with writable_folder(f"{bucket}/model") as folder:
                (Path(folder) / "deep").mkdir()
                (Path(folder) / "deep/a").write_text(text)
            first = Path(cached_folder(f"{bucket}/model"))
            times = (first / "deep/a").stat().st_mtime_ns
            assert (first / "deep/a").read_text() == text
            assert Path(cached_folder(f"{bucket}/model")) == first
            assert (first / "deep/a").stat().st_mtime_ns == times
        assert len(list(first.parent.iterdir())) == 2
        with pytest.raises(FileNotFoundError):
            cached_folder(f"{bucket}/none")


def test_a_local_folder_is_used_where_it_lies(tmp_path: Path) -> None:
    assert cached_folder(str(tmp_path)) == open_storage(str(tmp_path))[1] == str(tmp_path)
