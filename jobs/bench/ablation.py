"""What distillation and pruning bring: students of one recipe that differ in one thing each, by held-out retrieval.

    python jobs/bench/ablation.py RECIPE --out runs/bench/ablation.json          # make bench-ablation: quickstart

Teacher, parent and data are the recipe's, made first where they are not there. Main arms: no distillation, the
published MSE, MSE and similarity KL, each with several seeds (order of data, choice of negatives, calibration sample);
the further ones change importance, start or terms of the last, with one seed. Every student has the same shape, data
and steps, which are printed; `recovered` is (student − untrained) / (teacher − untrained). Writes JSON, and the table
as Markdown beside it.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from polyglossa.errors import PolyglossaError
from polyglossa.pipelines.command import load_profile
from polyglossa.pipelines.family import stage_of
from polyglossa.pipelines.ground import prepare, taught_member
from polyglossa.pipelines.students import Outcome, Student, judge_model, try_student
from polyglossa.recipe import load_recipe
from polyglossa.recipe.members import Member
from polyglossa.recipe.models import Recipe
from polyglossa.recipe.prune import PruneStage

MSE, KL = 1.0, 5.0
QUICKSTART = Path(__file__).parents[1] / "recipes" / "quickstart.yaml"


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
    try:
        found = ablate(options)
    except PolyglossaError as error:
        sys.stderr.write(f"ablation: {error}\n")
        sys.exit(error.exit_code)
    path = Path(options.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1))
    path.with_suffix(".md").write_text(markdown(found))
    print(markdown(found), json.dumps(found), sep="\n")


def ablate(options: argparse.Namespace) -> dict[str, Any]:
    """Run every arm; returns figures by arm, and those of the models that they are measured against."""
    from polyglossa.pipelines.session import parallel, ray_session

    recipe, profile = load_recipe(Path(options.recipe), options.set), load_profile(options.profile)
    member = taught_member(recipe, options.member)
    ground, models = prepare(recipe, profile, member, queries=options.queries)
    ground = replace(ground, judges_start=False)
    arms = [arm for arm in ARMS if arm.main or not options.main]
    runs = [(arm, seed) for arm in arms for seed in range(options.seeds if arm.main else 1)]
    students = [student_of(arm, seed, recipe, member, options.steps) for arm, seed in runs]
    instructed = students[0].stage.instructions
    outcomes: dict[int, Outcome] = {}
    with ray_session(profile):
        judged = [(models[name].at("model"), ground) for name in ("untrained", "teacher")]
        bounds = dict(parallel(_judge, [(*one, name == 1 and instructed) for name, one in enumerate(judged)], cpus=1))
        for index, outcome in parallel(try_student, [(one, ground, 1) for one in students], cpus=1):
            outcomes[index] = outcome
            arm, seed = runs[index]
            print(f"{arm.name:<32} seed {seed}  {_scores(outcome.scores)}  {outcome.seconds:.0f} s", flush=True)
    teacher = models["teacher"].at("model")
    figures = {
        "recipe": recipe.name,
        "cpus": os.cpu_count(),
        "steps": options.steps,
        "global_batch": students[0].stage.global_batch,
        "untrained": bounds[0],
        "teacher": bounds[1],
        "teacher_parameters": _parameters(teacher),
        "arms": [],
    }
    for arm in arms:
        own = [outcomes[index] for index, (other, _) in enumerate(runs) if other is arm]
        figures["arms"].append(_figures(arm, own, bounds[0], bounds[1]))
    return figures


def student_of(arm: Arm, seed: int, recipe: Recipe, member: Member, steps: int) -> Student:
    """Turn an arm into a student of the member's shape."""
    assert member.prune is not None
    stage = stage_of(member, recipe.training[member.stages[-1]]).model_dump(mode="json")
    stage |= {"steps": steps, "seed": seed, "warmup_steps": min(stage["warmup_steps"], steps // 10)}
    stage["objective"]["teacher_terms"] = dict(arm.terms)
    prune = PruneStage.of(member.prune).model_dump(mode="json") | {"seed": seed}
    if arm.criterion is not None:
        prune["criterion"] = arm.criterion
    plain = {"prune": prune, "stage": stage}
    return Student(
        PruneStage.model_validate_json(json.dumps(plain["prune"])),
        type(recipe.training[member.stages[-1]]).model_validate_json(json.dumps(plain["stage"])),
        distillation_weight=arm.mse,
        scratch=arm.scratch,
    )


def _judge(model_uri: str, ground: Any, instructed: bool) -> dict[str, float]:
    return judge_model(model_uri, ground, instructed=instructed)


def _figures(
    arm: Arm, outcomes: Sequence[Outcome], untrained: Mapping[str, float], teacher: Mapping[str, float]
) -> dict[str, Any]:
    scores = {name: [outcome.scores[name] for outcome in outcomes] for name in outcomes[0].scores}
    means = {name: statistics.fmean(values) for name, values in scores.items()}
    recovered = {name: (means[name] - untrained[name]) / (teacher[name] - untrained[name]) for name in means}
    return {
        "arm": arm.name,
        "seeds": len(outcomes),
        "parameters": outcomes[0].parameters,
        "scores": scores,
        "mean": means,
        "spread": {name: max(values) - min(values) for name, values in scores.items()},
        "recovered": recovered,
        "tokens": outcomes[0].tokens,
        "seconds": statistics.fmean(outcome.seconds for outcome in outcomes),
        "terms": outcomes[0].terms,
    }


def markdown(found: Mapping[str, Any]) -> str:
    """Write the figures as a Markdown table; ± is half of the distance between the best and the worst seed."""
    names = list(found["untrained"])
    arms = found["arms"]
    share = arms[0]["parameters"] / found["teacher_parameters"]
    lines = [
        f"{found['recipe']}: {arms[0]['parameters']:,} parameters, {share:.1%} of the teacher's "
        f"{found['teacher_parameters']:,}; {found['steps']} steps of {found['global_batch']}, "
        f"{arms[0]['tokens']:,} tokens, {arms[0]['seconds']:.0f} s on one CPU core a student.",
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


def _scores(scores: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in scores.items())


def _parameters(model_uri: str) -> int:
    from transformers import AutoConfig

    from polyglossa.artifact import read_json
    from polyglossa.prune.surgery import count_parameters

    return count_parameters(AutoConfig.for_model(**read_json(f"{model_uri}/config.json")))


if __name__ == "__main__":
    main()
