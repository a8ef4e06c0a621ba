"""Protects the published per-file caps and batches: a glob becomes a source per file, and no file is read twice."""

from pathlib import Path

import pytest

from polyglossa.corpus.sources.per_file import expand_sources, source_name
from polyglossa.errors import DataError
from polyglossa.recipe.sections.corpus import CorpusConfig

FILES = ("ocgi.parquet", "ocgi_part2.parquet", "unpc_ar2en.parquet", "csn_go.parquet", "xcode_C++.parquet")


def config(folder: Path, *sources: dict[str, object]) -> CorpusConfig:
    for name in FILES:
        (folder / name).write_bytes(b"")
    entries = [{"kind": "f2llm", "files": ("*.parquet",)} | source for source in sources]
    return CorpusConfig.model_validate({"data": str(folder), "sources": tuple(entries)})


def test_each_file_is_a_source_and_a_part_is_one_of_its_own(tmp_path: Path) -> None:
    found = expand_sources(config(tmp_path, {"name": "all", "per_file": True})).sources
    assert [source.name for source in found] == ["csn_go", "ocgi", "ocgi_part2", "unpc_ar2en", "xcode_C__"]
    assert {len(source.files) for source in found} == {1}  # type: ignore[union-attr]  # f2llm sources have files


def test_excluded_files_are_left_to_other_entries(tmp_path: Path) -> None:
    rest = {"name": "rest", "per_file": True, "exclude": ("unpc_*",)}
    found = expand_sources(config(tmp_path, {"name": "unpc", "files": ("unpc_*.parquet",)}, rest)).sources
    assert [source.name for source in found] == ["unpc", "csn_go", "ocgi", "ocgi_part2", "xcode_C__"]


def test_a_file_in_two_entries_is_refused(tmp_path: Path) -> None:
    one = {"name": "one", "per_file": True}
    with pytest.raises(DataError, match="two entries hold a source 'csn_go'"):
        expand_sources(config(tmp_path, one, one | {"name": "two"}))


def test_an_entry_that_excludes_everything_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="leaves no file of 5"):
        expand_sources(config(tmp_path, {"name": "none", "exclude": ("*",)}))


def test_other_entries_are_left_as_they_are(tmp_path: Path) -> None:
    plain = config(tmp_path, {"name": "all"})
    assert expand_sources(plain) is plain


def test_a_source_is_named_like_its_file() -> None:
    assert source_name("s3://bucket/F2LLM-v2/openorca_part2.parquet?endpoint=x") == "openorca_part2"
    assert source_name("/data/xcodeeval_C%23.parquet") == "xcodeeval_C_23"
