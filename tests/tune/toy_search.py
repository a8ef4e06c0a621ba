"""A recipe with a search whose shared artifacts are toys: real students, real Ray Tune, nothing slow before them."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from data.toy_packs import write_teacher
from pipeline.toy_stages import toy_stages
from polyglossa.artifact import Artifact, Draft
from polyglossa.pipeline.execute import execute
from polyglossa.pipeline.run import make
from polyglossa.recipe import Profile, Recipe
from polyglossa.recipe.load import dump_yaml, load_recipe
from polyglossa.tune.plan import plan_nodes
from train.toys import SOURCES, WORDS, make_model, make_pack

STEPS = 8
STAGE = {
    "hard_negatives": False,
    "instructions": True,
    "global_batch": 16,
    "steps": STEPS,
    "max_tokens": 32,
    "chunk_tokens": 64,
    "learning_rate": 1e-3,
    "warmup_steps": 2,
    "dtype": "float32",
}
SHAPE = {"hidden": 32, "mlp": 48, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 8}
SPACE = {
    "training.distil.learning_rate": {"loguniform": [1e-4, 1e-2]},
    "training.distil.objective.distillation_weight": {"uniform": [0.0, 10.0]},
    "members.small.prune.layers": {"choice": [1, 2]},
    "members.small.prune.hidden": {"int": [12, 24]},
}
PROFILE = {"cpus": 2, "object_store_gib": 0.3, "train": {"workers": 1}, "tune": {"workers": 2, "cpus": 1}}


def recipe_data(storage: Path, **tune: Any) -> dict[str, Any]:
    """A family of two whose student is searched."""
    search = {"member": "small", "space": SPACE, "trials": 3, "searcher": "random", "judge": {"sets": ["toy"]}}
    return {
        "name": "toy",
        "storage": str(storage),
        "corpus": {"sources": [{"kind": "pydoc"}]},
        "training": {"stage1": STAGE, "distil": STAGE},
        "members": [
            {
                "name": "base",
                "backbone": {"shape": SHAPE, "tokenizer": {"vocabulary": 300}, "max_tokens": 32},
                "stages": ["stage1"],
            },
            {
                "name": "small",
                "prune": {"from": "base@stage1", "hidden": 16, "mlp": 24, "layers": 1, "calibration_rows": 8},
                "stages": ["distil"],
                "teacher": "base",
            },
        ],
        "tune": search | tune,
    }


def write_recipe(folder: Path, **tune: Any) -> Path:
    """Write the recipe's file."""
    path = folder / "toy.yaml"
    path.write_text(dump_yaml(recipe_data(folder / "runs", **tune)))
    return path


def make_shared(recipe: Recipe) -> dict[str, Artifact]:
    """Make what trials share as toys, under the keys that a run looks for; a shared cut is left to the run."""
    nodes = [node for node in plan_nodes(recipe) if node.stage in ("corpus", "backbone", "pack", "train", "distill")]
    return execute(nodes, str(Path(recipe.root).absolute()), Profile(), stages=toy_stages(_make_toy))


def _make_toy(stage: str, config: Any, inputs: Mapping[str, Artifact], draft: Draft) -> None:
    root = f"{draft.uri.rpartition('/artifacts/')[0]}/toys"
    if stage == "corpus":
        _write_heldout(draft)
    elif stage in ("backbone", "train"):
        _copy(make_model(root).at("model"), draft.at("model", "x").removesuffix("/x"))
    elif stage == "pack":
        _copy(make_pack(root).uri, draft.at("x").removesuffix("/x"))
    else:
        write_teacher(Path(draft.uri), inputs["pack"].uri, SOURCES, config.width)
        draft.count(width=config.width)


def _write_heldout(draft: Draft) -> None:
    """Forty words, each asked for twice; in two languages."""
    words = WORDS[:40]
    rows = [
        {"query_id": f"{word}-{language}", "query": f"{word} {other}", "language": language, "positive_doc_ids": [word]}
        for word, other in zip(words, reversed(WORDS), strict=False)
        for language in ("aaa", "bbb")
    ]
    pq.write_table(pa.Table.from_pylist(rows), draft.at("heldout", "toy", "queries.parquet"))
    corpus = pa.Table.from_pylist([{"doc_id": word, "text": word} for word in words])
    pq.write_table(corpus, draft.at("heldout", "toy", "corpus.parquet"))
    task = {"name": "toy", "task_type": "retrieval", "instruction": "Find the word.", "metric": "ndcg_at_10"}
    draft.write_json(task, "heldout", "toy", "task.json")


def _copy(source: str, target: str) -> None:
    local = pafs.LocalFileSystem()
    pafs.copy_files(source, target, source_filesystem=local, destination_filesystem=local)


def main() -> None:
    """Make the shared artifacts of a recipe file, then search so many trials at a time: the driver that tests kill."""
    recipe = load_recipe(sys.argv[1])
    make_shared(recipe)
    profile = PROFILE | {"tune": {"workers": int(sys.argv[2])}}
    make(recipe, Profile.model_validate(profile), plan_nodes(recipe))


if __name__ == "__main__":
    main()
