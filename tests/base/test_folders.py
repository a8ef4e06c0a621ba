"""Folders of any storage reach readers and writers that know local paths alone, and half-written ones reach nobody."""

from pathlib import Path

import pytest

from polyglossa.folders import local_folder, written_folder


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    with written_folder(str(tmp_path / "deep" / "model")) as folder:
        (Path(folder) / "a").write_text("x")
    with local_folder(str(tmp_path / "deep" / "model")) as folder:
        assert (Path(folder) / "a").read_text() == "x"


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail() -> None:
        with written_folder(str(tmp_path / "model")) as folder:
            (Path(folder) / "a").write_text("x")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        fail()
    assert not (tmp_path / "model").exists()
