"""Trace what a model learned from and which benchmarks it is zero-shot on, from manifests or its directory.

A benchmark's texts stayed out of a model if every corpus behind it (its own, its teachers', those of the models before
it) was cleaned of them or held them out. The model is zero-shot on the benchmark if it also learned from no data set of
that name, as mteb counts it. What a backbone by name read before it came here is not known.
"""

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import pyarrow.fs as pafs

from polyglossa.artifact import MARKER, Artifact, exists, open_artifact, open_storage, read_json

FILE = "model_meta.json"
"""Where a model directory carries it."""


@dataclass(frozen=True)
class Benchmark:
    """An evaluation set that stayed out of a corpus."""

    name: str
    path: str | None = None
    """Its files, as the recipe names them; None where the set has a name alone or is the corpus's own."""
    texts: int | None = None
    """Distinct texts that the corpus was compared with."""
    rows_removed: int | None = None
    """Training rows that were dropped for them."""


@dataclass(frozen=True)
class Provenance:
    """Where a model's knowledge comes from."""

    training_datasets: tuple[str, ...]
    """Sources of the recipes, by the names that rows carry."""
    kept_out: tuple[Benchmark, ...]
    """Benchmarks whose texts none of the corpora holds."""
    corpora: tuple[str, ...]
    """Hashes of the corpora."""
    adapted_from: tuple[str, ...]
    """Models by name that training started from."""
    helped_by: tuple[tuple[str, str], ...] = ()
    """Other models from outside that shaped it: (what it did, name). What they were trained on is not known here."""

    @property
    def zero_shot(self) -> tuple[str, ...]:
        """Benchmarks that stayed out and whose training part, by name, was not learned from either."""
        return tuple(one.name for one in self.kept_out if one.name not in self.training_datasets)

    def keeps_out(self, name: str, path: str | None = None) -> bool:
        """Tell whether a benchmark's texts, by its name or its files, stayed out of all that was learned from."""
        return any(one.name == name or (path is not None and one.path == path) for one in self.kept_out)

    def plain(self) -> dict[str, Any]:
        """As JSON values: `zero_shot` lists names, `kept_out` maps names to the facts."""
        kept_out = {one.name: {k: v for k, v in asdict(one).items() if k != "name"} for one in self.kept_out}
        return {**asdict(self), "zero_shot": list(self.zero_shot), "kept_out": kept_out}

    @classmethod
    def read(cls, model_uri: str) -> Self | None:
        """Read what a model directory carries; None where it carries nothing."""
        uri = posixpath.join(model_uri, FILE)
        if not exists(uri):
            return None
        told = read_json(uri)
        return cls(
            training_datasets=tuple(told.get("training_datasets") or ()),
            kept_out=tuple(Benchmark(name, **facts) for name, facts in (told.get("kept_out") or {}).items()),
            corpora=tuple(told.get("corpora") or ()),
            adapted_from=tuple(told.get("adapted_from") or ()),
            helped_by=tuple((what, name) for what, name in told.get("helped_by") or ()),
        )


def provenance(artifacts: Iterable[Artifact]) -> Provenance:
    """Gather what some artifacts (a model, or what it is trained from) go back to.

    Where a corpus or anything on the way to it is not told or no longer stored, nothing is said to be kept out.
    """
    found = list(_ancestors(artifacts))
    behind = [one for one in found if one is not None]
    corpora = [one for one in behind if one.manifest["stage"] == "corpus"]
    kept_out = [{one.name: one for one in _benchmarks(corpus)} for corpus in corpora]
    told = all("corpus" in one.manifest["parents"] for one in behind if one.manifest["stage"] == "pack")
    whole = bool(corpora) and told and len(behind) == len(found)
    shared = [one for name, one in kept_out[0].items() if all(name in other for other in kept_out)] if whole else []
    backbones = [one.manifest["config"] for one in behind if one.manifest["stage"] == "backbone"]
    return Provenance(
        training_datasets=tuple(dict.fromkeys(name for one in behind for name in _packed_sources(one, corpora))),
        kept_out=tuple(sorted(shared, key=lambda one: one.name)),
        corpora=tuple(corpus.hash for corpus in corpora),
        adapted_from=tuple(dict.fromkeys(str(one["model"]) for one in backbones if one.get("model"))),
        helped_by=tuple(sorted({helper for one in behind for helper in _helpers(one)})),
    )


def _helpers(artifact: Artifact) -> Iterator[tuple[str, str]]:
    """Models from outside that an artifact was made with."""
    config = artifact.manifest["config"]
    match artifact.manifest["stage"]:
        case "distill":
            guides = posixpath.basename(artifact.uri).startswith("distill._guide.")
            named = [("guided" if guides else "taught", config.get("outside"))]
        case "mine":
            named = [("mined", config.get("model")), ("re-scored", (config.get("rescore") or {}).get("model"))]
        case "corpus":
            named = [("wrote", (source.get("writer") or {}).get("model")) for source in config.get("sources") or ()]
        case _:
            named = []
    for what, model in named:
        name = model["model"] if isinstance(model, Mapping) else model
        if name and not (isinstance(model, str) and "@" in model):
            yield what, str(name)


def _ancestors(artifacts: Iterable[Artifact]) -> Iterator[Artifact | None]:
    """Yield the artifacts and all behind them, each once, corpora last on their way; None for what is gone."""
    waiting, seen = list(artifacts), set[str]()
    while waiting:
        artifact = waiting.pop()
        if artifact.uri in seen:
            continue
        seen.add(artifact.uri)
        yield artifact
        if artifact.manifest["stage"] == "corpus":
            continue
        for parent in artifact.manifest["parents"].values():
            if parent["uri"] in seen:
                continue
            if exists(posixpath.join(parent["uri"], MARKER)):
                waiting.append(open_artifact(parent["uri"]))
            else:
                yield None


def _packed_sources(artifact: Artifact, corpora: Iterable[Artifact]) -> list[str]:
    """Sources of a packed corpus; all of its corpus where it chose none."""
    if artifact.manifest["stage"] != "pack":
        return []
    chosen = artifact.manifest["config"].get("sources")
    if chosen is not None:
        return list(chosen)
    own = artifact.manifest["parents"].get("corpus", {}).get("uri")
    return [one["name"] for corpus in corpora if corpus.uri == own for one in corpus.manifest["config"]["sources"]]


def _benchmarks(corpus: Artifact) -> Iterator[Benchmark]:
    """Evaluation sets that a corpus was cleaned of, and those that it holds out itself."""
    config = corpus.manifest["config"]
    settings: Mapping[str, Any] = config.get("decontamination") or {}
    account = read_json(corpus.at("account.json")) if exists(corpus.at("account.json")) else {}
    figures = account.get("decontamination") or {"sets": {}, "removed": {}}
    paths = {one["name"]: posixpath.join(config.get("data") or "", one["path"]) for one in settings.get("sets", ())}
    for name in [*paths, *settings.get("tasks", ())]:
        texts = figures["sets"].get(name, {}).get("texts")
        yield Benchmark(name, paths.get(name), texts, sum(figures["removed"].get(name, {}).values()))
    filesystem, folder = open_storage(corpus.at("heldout"))
    for info in filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True)):
        if info.type == pafs.FileType.Directory:
            yield Benchmark(info.base_name)
