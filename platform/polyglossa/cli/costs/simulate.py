"""`polyglossa simulate`: the step plan, layout and feed of a stage at a size that no machine at hand holds."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from polyglossa.capacity.simulate import PlanFigures, Scenario, WorldFigures, simulate
from polyglossa.capacity.table import align, size
from polyglossa.cli.options import Overrides, RecipeFile
from polyglossa.errors import UserError
from polyglossa.recipe import Recipe, load_recipe


def simulate_feed(
    recipe: RecipeFile,
    stage: Annotated[str, typer.Option(help="Training stage; its lengths are those of `expect`.")] = "stage2",
    rows: Annotated[int, typer.Option(min=1, help="Training rows.")] = 60_000_000,
    sources: Annotated[int, typer.Option(min=1, help="Sources.")] = 502,
    workers: Annotated[str, typer.Option(help="World sizes.")] = "64,128,256,512",
    readers: Annotated[int, typer.Option(min=1, help="Tasks that make batches, a CPU each.")] = 2,
    teacher_width: Annotated[int, typer.Option(min=0, help="Coordinates of a teacher that batches carry.")] = 0,
    overrides: Overrides = None,
    as_data: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Simulate planning, packing and feeding a stage from length statistics, and name the feed's bottleneck."""
    scenario = scenario_of(load_recipe(recipe, overrides or ()), stage, rows, sources, readers, teacher_width)
    try:
        worlds = [int(part) for part in workers.split(",")]
    except ValueError:
        raise UserError(f"--workers {workers}: write numbers, as 64,128.") from None
    figures, found = simulate(scenario, worlds)
    typer.echo(json.dumps(figures_json(figures, found), indent=1) if as_data else figures_table(figures, found))


def scenario_of(recipe: Recipe, stage: str, rows: int, sources: int, readers: int, teacher_width: int) -> Scenario:
    """Take lengths and settings from a recipe.

    Raises:
        UserError: the recipe has no such stage, or expects nothing of it.
    """
    expected = recipe.expect.stages.get(stage) if recipe.expect is not None else None
    if stage not in recipe.training or expected is None:
        raise UserError(
            f"--stage {stage}: needs training.{stage} and expect.stages.{stage}, whose lengths are drawn from."
        )
    settings = recipe.training[stage]
    return Scenario(
        rows=rows,
        sources=sources,
        query_tokens=expected.query_tokens,
        document_tokens=expected.document_tokens,
        spread=expected.spread,
        stored_negatives=expected.stored_negatives,
        negatives=settings.negatives if settings.hard_negatives else 0,
        global_batch=settings.global_batch,
        max_tokens=settings.max_tokens,
        chunk_tokens=settings.chunk_tokens,
        teacher_width=teacher_width,
        readers=readers,
        seed=settings.seed,
    )


def figures_table(plan: PlanFigures, worlds: list[WorldFigures]) -> str:
    """Render figures."""
    head = "\n".join(
        [
            f"{plan.rows:,} rows, the largest source {plan.largest_source:,}: {plan.steps:,} steps of "
            f"{plan.step_tokens:,.0f} tokens",
            f"plan built in {plan.build_seconds:.2f} s, {plan.step_milliseconds:.2f} ms a step; "
            f"{plan.pooled_share:.2%} of rows pooled, {plan.repeated_share:.2%} repeated",
            f"{plan.bundles_per_step:.1f} bundles ({size(plan.read_bytes_per_step)}) read a step",
        ]
    )
    columns = (
        "workers", "padding", "imbalance", "dummies", "payload", "step", "made in", "object store", *_PARTS,
        "bottleneck",
    )  # fmt: skip
    rows = [
        (
            str(w.workers), f"{w.padding:.1%}", f"{w.imbalance:.3f}", f"{w.dummies:.1%}", size(w.payload_bytes),
            size(w.feed_bytes), f"{w.make_seconds * 1000:.0f} ms", size(w.object_store_bytes),
            *(f"{w.steps_per_second[part]:.1f}/s" for part in _PARTS), w.bottleneck,
        )
        for w in worlds
    ]  # fmt: skip
    return f"{head}\n\n{align([columns, *rows])}"


_PARTS = ("reading bundles", "making batches", "handing out blocks")


def figures_json(plan: PlanFigures, worlds: Sequence[WorldFigures]) -> dict[str, Any]:
    """Figures as plain data."""
    return {"plan": asdict(plan), "worlds": [asdict(world) | {"bottleneck": world.bottleneck} for world in worlds]}
