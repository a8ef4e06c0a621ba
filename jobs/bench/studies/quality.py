"""What each further term of the loss brings on real text: the same training with it and without, held-out, by arm.

    make bench-quality                                        # POLYGLOSSA_DATA says where the data lies
    python jobs/bench/studies/quality.py --arms int8+binary   # some arms alone; what is finished is not made again
    python jobs/bench/studies/quality.py --steps 4 --first-steps 6 --queries 8   # does it run at all?

The base is the small Qwen3 of `quality.yaml` (real-small within a budget) after its first stage; an arm is its second
stage with one change, for a fixed number of steps. Where all-MiniLM-L6-v2 lies under POLYGLOSSA_MODELS, the same arms
fine-tune it by `jobs/recipes/minilm.yaml` on the English sets (`minilm: ` before the arm's name). Where
POLYGLOSSA_CROSS_ENCODER names a cross-encoder, the arms that learn from one are run too; those that learn from scored
pairs are left out, for the data has none. Every arm is trained with one seed, those whose mean is above the base's with
`--seeds`; each trained model and each evaluation is an artifact, so a run that was stopped goes on where it was.

Judged by samples of XQuAD, native, tldr, banking77, clinc150 and Flores. `delta` is arm − base, averaged over sets and
seeds; `low` and `high` are its 95 % interval by paired resampling of queries, which leaves the luck of seeds out.
`retention` is what cut and compressed vectors keep of the float score at the full width. The last line is one JSON
object.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from jobs.bench.shared.commands import ROOT, say

STUDY, FINE_TUNING = Path(__file__).with_name("quality.yaml"), ROOT / "jobs" / "recipes" / "minilm.yaml"
MINILM = "all-MiniLM-L6-v2"
BASE = "base"
BASES = {"": (STUDY, "stage2"), "minilm: ": (FINE_TUNING, "english")}
"""Recipe and judged stage of each base, by what stands before its arms' names."""
ALL_CANDIDATES = "[positives, negatives, queries, documents]"
ARMS: Mapping[str, Mapping[str, str]] = {
    BASE: {},
    "candidates: negatives": {"objective.candidates": "[positives, negatives]"},
    "candidates: queries": {"objective.candidates": "[positives, queries]"},
    "candidates: documents": {"objective.candidates": "[positives, documents]"},
    "candidates: all": {"objective.candidates": ALL_CANDIDATES},
    "candidates: all, known+score": {"objective.candidates": ALL_CANDIDATES, "objective.mask": "known+score"},
    "guide": {"guide": "{model: GUIDE, least: 0.5}"},
    "spread_out": {"objective.terms": "{spread_out: 1.0}"},
    "widths: uniform": {"objective.matryoshka": "uniform"},
    "widths: learned": {"objective.matryoshka": "learned"},
    "int8": {"objective.terms": "{int8: 0.5}"},
    "binary": {"objective.terms": "{binary: 0.5}"},
    "int8+binary": {"objective.terms": "{int8: 0.5, binary: 0.5}"},
    "margin_mse": {"objective.terms": "{margin_mse: 1.0}"},
    "candidate_kl": {"objective.terms": "{candidate_kl: 1.0}"},
}
"""Changes of the judged stage, by arm."""
_WITH_CROSS_ENCODER = ("margin_mse", "candidate_kl")
_WITH_NEGATIVES = ("candidates: negatives", "candidates: all", "candidates: all, known+score", *_WITH_CROSS_ENCODER)
"""Arms that read mined negatives; the fine-tuning of MiniLM mines none."""
_COMPRESSED = (BASE, "int8", "binary", "int8+binary")
"""Arms whose narrower and compressed vectors are judged too; that takes longer than all the rest of an evaluation."""
_WARM_STEPS = 3  # left out of a step's time
_RESAMPLES = 1000

Sets = dict[str, dict[str, Any]]
"""Set → subset → samples."""


def main() -> None:
    """Train and judge every arm, then compare each with the base."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", default=",".join(ARMS), help="names, with commas between them; the base comes along")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the base and of arms that look like they help")
    parser.add_argument("--steps", type=int, default=60, help="steps of every arm")
    parser.add_argument("--first-steps", type=int, default=200, help="steps of the stage before it")
    parser.add_argument("--queries", type=int, default=60, help="most queries of a subset that judge")
    parser.add_argument("--varieties", type=int, default=20, help="varieties of Flores that judge")
    parser.add_argument("--set", action="append", default=[], metavar="A.B.C=VALUE", help="override one value")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "bench-quality", help="folder of all that is made")
    options = parser.parse_args()
    data = Path(os.environ.get("POLYGLOSSA_DATA") or ROOT.parent / "shared" / "data")
    models = Path(os.environ.get("POLYGLOSSA_MODELS") or ROOT.parent / "shared" / "models")
    if not (data / "eval").is_dir():
        print(f"skipped: {data / 'eval'} is not there; set POLYGLOSSA_DATA")
        return
    unknown = [name for name in options.arms.split(",") if name not in ARMS]
    if unknown:
        raise SystemExit(f"quality: no arm {unknown[0]!r}; there are {', '.join(ARMS)}")
    options.data, options.out, options.model = data.resolve(), options.out.resolve(), models / MINILM
    options.cross_encoder = os.environ.get("POLYGLOSSA_CROSS_ENCODER")
    started = time.perf_counter()
    found: dict[str, Any] = {"steps": options.steps, "arms": {}, "retention": {}}
    for prefix in BASES:
        if prefix and not options.model.is_dir():
            say(f"left out: {options.model} is not there; set POLYGLOSSA_MODELS")
            continue
        study(prefix, options, found)
    found["minutes"] = round((time.perf_counter() - started) / 60, 1)
    print(json.dumps(found))


def study(prefix: str, options: argparse.Namespace, found: dict[str, Any]) -> None:
    """Run one base's arms and add what they brought to `found`."""
    cut_sets(options.data, options.out / "sets", queries=options.queries, varieties=options.varieties)
    names = [name for name in ARMS if name in {BASE, *options.arms.split(",")}]
    left_out = (*_WITH_NEGATIVES,) if prefix else ()
    left_out += () if options.cross_encoder is not None else _WITH_CROSS_ENCODER
    names = [name for name in names if name not in left_out]
    base = [run(prefix, BASE, 0, options)]
    for name in names[1:]:
        arm = [run(prefix, name, 0, options)]
        if mean(arm[0]["samples"]) > mean(base[0]["samples"]):
            for seed in range(1, options.seeds):
                if len(base) == seed:
                    base.append(run(prefix, BASE, seed, options))
                arm.append(run(prefix, name, seed, options))
        found["arms"][prefix + name] = compare(arm, base)
        if name in _COMPRESSED:
            found["retention"][prefix + name] = arm[0]["retention"]
        say(f"{prefix}{name}: {json.dumps(found['arms'][prefix + name])}")
    found["retention"][prefix + BASE] = base[0]["retention"]


def run(prefix: str, arm: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train and judge an arm with one seed, or take what is there: samples, retention, seconds of a step."""
    from polyglossa.evaluate.scoring.outcome import read_samples
    from polyglossa.pipeline.build import build
    from polyglossa.pipeline.run import make
    from polyglossa.recipe import load_profile, load_recipe

    say(f"{prefix}{arm}, seed {seed}")
    recipe = load_recipe(BASES[prefix][0], settings(prefix, arm, seed, options))
    label = f"evaluate.{recipe.members[0].name}"
    profile = load_profile(None).changed(train={"workers": 0, "threads": os.cpu_count() or 1})
    made = make(recipe, profile, build(recipe).needed_for([label]))
    trained = made[f"train.base.{BASES[prefix][1]}"]
    summary = made[label].read_json("summary.json")
    if summary["failed"]:
        raise SystemExit(f"quality: not judged: {summary['failed']}")
    metrics = [json.loads(line) for line in Path(trained.at("metrics.jsonl")).read_text().splitlines()]
    return {
        "samples": {task: read_samples(made[label], task) for task in summary["tasks"]},
        "retention": summary.get("retention", {}),
        "seconds": statistics.median(one["seconds"] - one["data_wait"] for one in metrics[_WARM_STEPS:] or metrics),
    }


def settings(prefix: str, arm: str, seed: int, options: argparse.Namespace) -> list[str]:
    """List the overrides of an arm: a budget that all share, what it changes, and the sets that judge."""
    stage = f"training.{BASES[prefix][1]}"
    shared = [
        f"storage={options.out / 'runs'}", f"corpus.data={options.data}", f"evaluate.data={options.out / 'sets'}",
        f"evaluate.compressed={json.dumps(arm in _COMPRESSED)}", f"evaluate.widths={json.dumps(arm in _COMPRESSED)}",
        f"evaluate.local={json.dumps(tasks(english=bool(prefix)))}", "evaluate.heldout=[]",
        f"{stage}.seed={seed}", f"{stage}.steps={options.steps}", f"{stage}.warmup_steps={max(1, options.steps // 10)}",
    ]  # fmt: skip
    if prefix:
        shared += [f"members.base.backbone.model={options.model.resolve()}", f"{stage}.objective.matryoshka=published"]
        guide = "base@backbone"
    else:
        first = options.first_steps
        shared += [f"training.stage1.steps={first}", f"training.stage1.warmup_steps={max(1, first // 10)}"]
        guide = "base@stage1"
    changes = [f"{stage}.{path}={value.replace('GUIDE', guide)}" for path, value in ARMS[arm].items()]
    if arm in _WITH_CROSS_ENCODER:
        changes.append(f"mine.rescore={{model: {options.cross_encoder}}}")
    return [*shared, *changes, *options.set]


def tasks(*, english: bool) -> list[dict[str, Any]]:
    """Name the sets that judge, as `evaluate.local` does."""
    named: list[dict[str, Any]] = [
        {"kind": "retrieval", "name": name, "path": f"retrieval/{name}{'-eng' if english else ''}"} for name in SEARCHES
    ]
    named += [
        {"kind": "classification", "name": name, "path": f"{name}.parquet", "train": f"{name}_train.parquet",
         "experiments": 3} for name in LABELLED
    ]  # fmt: skip
    return named if english else [*named, {"kind": "bitext", "name": "flores", "path": "flores.parquet"}]


SEARCHES, LABELLED = ("xquad", "native", "tldr"), ("banking77", "clinc150")
_DISTRACTORS = 3  # further documents for each query that is kept


def cut_sets(data: Path, folder: Path, *, queries: int, varieties: int) -> None:
    """Write samples of the held-out sets, chosen by hash: an arm's evaluation would take longer than its training."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    def kept_rows(table: Any, keys: Iterable[str], most: int) -> Any:
        order = sorted(range(len(table)), key=lambda row, keys=list(keys): _place(keys[row]))
        return table.take(pa.array(sorted(order[:most]), pa.int64()))

    for name in SEARCHES:
        tables = {
            part: pq.read_table(data / f"eval/retrieval/{name}/{part}.parquet")
            for part in ("queries", "corpus", "qrels")
        }
        for suffix, english in (("", False), ("-eng", True)):
            asked, read, relevant = [], [], []
            for subset in sorted(set(tables["queries"]["subset"].to_pylist())):
                if english and not subset.endswith("_eng"):
                    continue
                own = {part: table.filter(pc.equal(table["subset"], subset)) for part, table in tables.items()}
                chosen = kept_rows(own["queries"], own["queries"]["query_id"].to_pylist(), queries)
                judged = own["qrels"].filter(
                    pc.is_in(own["qrels"]["query_id"], value_set=chosen["query_id"].combine_chunks())
                )
                wanted = pc.is_in(own["corpus"]["doc_id"], value_set=judged["doc_id"].combine_chunks())
                others = own["corpus"].filter(pc.invert(wanted))
                spread = kept_rows(others, others["doc_id"].to_pylist(), _DISTRACTORS * queries)
                asked.append(chosen)
                read += [own["corpus"].filter(wanted), spread]
                relevant.append(judged)
            place = folder / "retrieval" / f"{name}{suffix}"
            place.mkdir(parents=True, exist_ok=True)
            for part, parts in (("queries", asked), ("corpus", read), ("qrels", relevant)):
                pq.write_table(pa.concat_tables(parts), place / f"{part}.parquet")
    for name in LABELLED:
        test = pq.read_table(data / f"eval/classification/{name}_test.parquet")
        pq.write_table(kept_rows(test, test["text"].to_pylist(), 10 * queries), folder / f"{name}.parquet")
        train = (data / f"classification/{name}_train.parquet").read_bytes()
        (folder / f"{name}_train.parquet").write_bytes(train)
    flores = pq.read_table(data / "bitext/sib_flores_test.parquet")
    names = pc.binary_join_element_wise(flores["language"], flores["script"], "_")
    chosen = ["eng_Latn", *sorted(set(names.to_pylist()) - {"eng_Latn"}, key=_place)[: varieties - 1]]
    kept = flores.filter(pc.is_in(names, value_set=pa.array(chosen)))
    sentences = sorted(set(kept["index_id"].to_pylist()), key=lambda one: _place(str(one)))[: max(2, 2 * queries)]
    pq.write_table(kept.filter(pc.is_in(kept["index_id"], value_set=pa.array(sentences))), folder / "flores.parquet")


def _place(key: str) -> bytes:
    """Where a row stands in the order that a hash gives."""
    import hashlib

    return hashlib.blake2b(key.encode(), digest_size=8, person=b"quality").digest()


def mean(sets: Sets) -> float:
    """Average the sets' scores."""
    return statistics.fmean(statistics.fmean(one.statistic() for one in found.values()) for found in sets.values())


def compare(arm: Sequence[Mapping[str, Any]], base: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Hold an arm's runs against the base's of the same seeds.

    Returns:
        `delta`, `low`, `high`, `seconds_per_step_ratio`, `seeds`, and `sets`: the difference by set.
    """
    import numpy as np

    from polyglossa.evaluate.scoring.statistics import distribution

    pairs = list(zip(arm, base[: len(arm)], strict=True))
    drawn, sets = [], {}
    for name in arm[0]["samples"]:
        differences = [
            distribution(mine["samples"][name], resamples=_RESAMPLES, seed=0)
            - distribution(theirs["samples"][name], resamples=_RESAMPLES, seed=0)
            for mine, theirs in pairs
        ]
        drawn.append(np.mean(differences, axis=0))
        sets[name] = statistics.fmean(
            mean({name: mine["samples"][name]}) - mean({name: theirs["samples"][name]}) for mine, theirs in pairs
        )
    low, high = np.quantile(np.mean(drawn, axis=0), [0.025, 0.975])
    return {
        "delta": round(statistics.fmean(sets.values()), 5),
        "low": round(float(low), 5),
        "high": round(float(high), 5),
        "seconds_per_step_ratio": round(statistics.fmean(a["seconds"] / b["seconds"] for a, b in pairs), 3),
        "seeds": len(arm),
        "sets": {name: round(value, 5) for name, value in sets.items()},
    }


if __name__ == "__main__":
    main()
