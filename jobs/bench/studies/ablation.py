"""What distillation and pruning bring: students of one recipe that differ in one thing each, by held-out retrieval.

    python jobs/bench/studies/ablation.py RECIPE --out runs/bench/ablation.json  # make bench-ablation: quickstart

Each arm is a variant of the recipe and a trial of `tune`; teacher, parent and data are the recipe's, made first where
they are not there, and an interrupted ablation goes on where it was. Main arms: no distillation, the published MSE, MSE
and similarity KL, each with several seeds (order of data, choice of negatives, calibration sample); the further ones
change importance, start or terms of the last, with one seed. Every student has the same shape, data and steps, which
are printed; `recovered` is (student − untrained) / (teacher − untrained). Writes JSON, and the table as Markdown beside
it.
"""

import argparse
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polyglossa.artifact import Artifact
from polyglossa.cli.command import errors_in_one_line, taken_up_again
from polyglossa.errors import RecipeError, TrainingError
from polyglossa.evaluate.models.spec import model_of
from polyglossa.model.encoder import Encoder
from polyglossa.pipeline.build import build
from polyglossa.pipeline.run import make
from polyglossa.recipe import Recipe, load_profile, load_recipe
from polyglossa.recipe.sections.members import Member
from polyglossa.recipe.shortened import listed_search, shortened, taught_member
from polyglossa.storage import local_folder
from polyglossa.tune.plan import plan_nodes
from polyglossa.tune.trial.score import Scorer, placed_sets

MSE, KL = 1.0, 5.0
QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"


@dataclass(frozen=True)
class Arm:
    """One way to make a student."""

    name: str
    mse: float = MSE
    terms: Mapping[str, float] = field(default_factory=lambda: {"similarity_kl": KL})
    criterion: str | None = None
    """None takes the recipe's."""
    scratch: bool = False
    main: bool = False
    """Whether it is run with every seed."""


ARMS = (
    Arm("no distillation", mse=0.0, terms={}, main=True),
    Arm("MSE (published)", terms={}, main=True),
    Arm("MSE + similarity KL", main=True),
    Arm("similarity KL alone", mse=0.0),
    Arm("cosine + similarity KL", mse=0.0, terms={"cosine": 1.0, "similarity_kl": KL}),
    Arm("importance: l2 of activations", criterion="l2"),
    Arm("importance: prefix", criterion="prefix"),
    Arm("importance: random", criterion="random"),
    Arm("from scratch", scratch=True),
    Arm("from scratch, no distillation", mse=0.0, terms={}, scratch=True),
)


def main() -> None:
    """Make what the arms stand on, run them side by side, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", nargs="?", default=str(QUICKSTART), help="recipe file (YAML)")
    parser.add_argument("--set", action="append", default=[], metavar="A.B.C=VALUE", help="override one value")
    parser.add_argument("--profile", type=Path, help="placement profile (YAML); default: local")
    parser.add_argument("--member", help="pruned member that the arms vary; default: the first")
    parser.add_argument("--steps", type=int, default=80, help="training steps of every student")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the main arms")
    parser.add_argument("--main", action="store_true", help="main arms only")
    parser.add_argument("--queries", type=int, default=None, help="most queries of a held-out set; default: all")
    parser.add_argument("--out", default="runs/bench/ablation.json", help="JSON file; the table goes beside it")
    options = parser.parse_args()
    with errors_in_one_line("ablation"), taken_up_again():
        found = ablate(options)
    path = Path(options.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1))
    path.with_suffix(".md").write_text(markdown(found))
    print(markdown(found), json.dumps(found), sep="\n")


def ablate(options: argparse.Namespace) -> dict[str, Any]:
    """Run every arm; returns figures by arm, and those of the models that they are measured against."""
    whole = load_recipe(Path(options.recipe), options.set)
    member = taught_member(whole, options.member).name
    recipe = shortened(whole, member, steps=options.steps)
    arms = [arm for arm in ARMS if arm.main or not options.main]
    runs = [(arm, seed) for arm in arms for seed in range(options.seeds if arm.main else 1)]
    searched = listed_search(
        recipe,
        [changes(arm, seed, recipe) for arm, seed in runs],
        sets=whole.tune.judge.sets if whole.tune is not None else None,
        queries=options.queries,
        first_rung=options.steps,
    )
    made = make(searched, load_profile(options.profile), plan_nodes(searched))
    trials = made["tune"].read_json("trials.json")["trials"]
    failed = [f"{runs[trial['number']]}: {trial['reason']}" for trial in trials if trial["state"] != "finished"]
    if failed:
        raise TrainingError(f"an arm was not trained. {failed[0]}")
    bounds = {name: judged(searched, made["corpus"], made[node]) for name, node in ends(searched).items()}
    return {
        "recipe": whole.name,
        "cpus": os.cpu_count(),
        "steps": options.steps,
        "global_batch": recipe.training[recipe.members[-1].stages[-1]].global_batch,
        **{name: sets for name, (sets, _) in bounds.items()},
        "teacher_parameters": bounds["teacher"][1],
        "arms": [
            figures(
                arm,
                [trial["rungs"][-1] for (other, _), trial in zip(runs, trials, strict=True) if other is arm],
                *(bounds[name][0] for name in ("untrained", "teacher")),
            )
            for arm in arms
        ],
    }


def changes(arm: Arm, seed: int, recipe: Recipe) -> dict[str, Any]:
    """Write an arm as what it changes of the shortened recipe, whose last member is the student.

    Raises:
        RecipeError: a student from scratch has no shape or tokenizer in the recipe.
    """
    member = recipe.members[-1]
    stage, student = f"training.{member.stages[-1]}", f"members.{member.name}"
    found = {
        f"{stage}.seed": seed,
        f"{stage}.objective.distillation_weight": arm.mse,
        f"{stage}.objective.terms": dict(arm.terms),
    }
    if arm.scratch:
        root, shape = ancestor(recipe), recipe.shapes()[member.name]
        if root.backbone is None or root.backbone.tokenizer is None or shape is None:
            raise RecipeError(f"{root.name}: say its shape and tokenizer, which a student from scratch takes over.")
        kept = root.backbone.model_dump(include={"tokenizer", "max_tokens"})
        backbone = {**kept, "shape": shape.model_dump(), "seed": seed}
        return found | {f"{student}.prune": None, f"{student}.backbone": backbone, f"{student}.reads_with": root.name}
    criterion = {} if arm.criterion is None else {f"{student}.prune.criterion": arm.criterion}
    return found | {f"{student}.prune.seed": seed} | criterion


def ancestor(recipe: Recipe) -> Member:
    """The member with a backbone that the student is cut out of in the end."""
    member = recipe.members[-1]
    while member.origin is not None:
        member = recipe.member(member.origin.partition("@")[0])
    return member


def ends(recipe: Recipe) -> dict[str, str]:
    """Nodes of the models between which students lie: the untrained backbone, and the teacher."""
    graph, member = build(recipe), recipe.members[-1]
    taught_by = graph.nodes[graph.nodes[f"train.{member.name}.{member.stages[-1]}"].inputs["teacher"]]
    return {
        "untrained": f"backbone.{ancestor(recipe).name}",
        "teacher": taught_by.inputs["model"] if taught_by.stage == "distill" else taught_by.name,
    }


def judged(recipe: Recipe, corpus: Artifact, model: Artifact) -> tuple[dict[str, float], int]:
    """Score a model as the trials are scored; its scores by set, and its parameters."""
    assert recipe.tune is not None
    judge = Scorer(corpus, placed_sets(recipe), recipe.tune.judge)
    with local_folder(model.at("model")) as folder:
        encoder = Encoder.load(folder)
        scores = judge.scores(encoder, instructed=model_of(recipe.evaluate, model).instructed, part=None)
    return dict(judge.summary(scores).by_set), sum(weight.numel() for weight in encoder.backbone.parameters())


def figures(
    arm: Arm, reports: Sequence[Mapping[str, Any]], untrained: Mapping[str, float], teacher: Mapping[str, float]
) -> dict[str, Any]:
    """Sum an arm's seeds up."""
    scores = {name: [report["sets"][name] for report in reports] for name in untrained}
    means = {name: statistics.fmean(values) for name, values in scores.items()}
    return {
        "arm": arm.name,
        "seeds": len(reports),
        "parameters": reports[0]["parameters"],
        "scores": scores,
        "mean": means,
        "spread": {name: max(values) - min(values) for name, values in scores.items()},
        "recovered": {name: (means[name] - untrained[name]) / (teacher[name] - untrained[name]) for name in means},
        "tokens": reports[0]["tokens"],
        "seconds": statistics.fmean(report["seconds"] for report in reports),
        "terms": reports[0]["terms"],
    }


def markdown(found: Mapping[str, Any]) -> str:
    """Write the figures as a Markdown table; ± is half of the distance between the best and the worst seed."""
    names = list(found["untrained"])
    arms = found["arms"]
    share = arms[0]["parameters"] / found["teacher_parameters"]
    lines = [
        f"{found['recipe']}: {arms[0]['parameters']:,} parameters, {share:.1%} of the teacher's "
        f"{found['teacher_parameters']:,}; {found['steps']} steps of {found['global_batch']}, "
        f"{arms[0]['tokens']:,} tokens, {arms[0]['seconds']:.0f} s on one CPU core a student, judging included.",
        "",
        "| student | seeds | " + " | ".join(f"{name}" for name in names) + " | recovered |",
        "|---|---|" + "---|" * (len(names) + 1),
        "| untrained backbone | – | " + " | ".join(f"{found['untrained'][name]:.4f}" for name in names) + " | 0 |",
        "| teacher | – | " + " | ".join(f"{found['teacher'][name]:.4f}" for name in names) + " | 1 |",
    ]
    for arm in arms:
        cells = [
            f"{arm['mean'][name]:.4f}" + (f" ± {arm['spread'][name] / 2:.4f}" if arm["seeds"] > 1 else "")
            for name in names
        ]
        recovered = ", ".join(f"{arm['recovered'][name]:.2f}" for name in names)
        lines.append(f"| {arm['arm']} | {arm['seeds']} | " + " | ".join(cells) + f" | {recovered} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
