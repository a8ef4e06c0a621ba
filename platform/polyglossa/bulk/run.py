"""Embed a corpus on Ray Data: units stream through workers that each have the model open."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import ray.data

from polyglossa.artifact import write_json
from polyglossa.bulk.plan import EmbedJob, Unit, missing_units, open_job, plan_units
from polyglossa.bulk.unit import UnitDone, UnitEmbedder
from polyglossa.errors import DataError
from polyglossa.recipe.placement import StagePlacement
from polyglossa.runtime.console import track


def embed_corpus(job: EmbedJob, placement: StagePlacement) -> dict[str, Any]:
    """Embed what is not embedded yet.

    Args:
        job: what, how and where.
        placement: number of workers, and what each may use.

    Returns:
        Units, texts, tokens, rows rejected and seconds of all workers, of this run; `kept` units of earlier ones.

    Raises:
        UserError: the folder holds another job's vectors, or the job cannot be.
        DataError: no row of the files holds a text.
    """
    units = plan_units(job)
    open_job(job)
    missing = missing_units(job, units)
    done = list(_embed(job, missing, placement)) if missing else []
    figures: dict[str, Any] = {"units": len(done), "kept": len(units) - len(missing)}
    figures |= {name: sum(getattr(one, name) for one in done) for name in ("texts", "tokens", "rejected", "seconds")}
    if done and not figures["texts"] and not figures["kept"]:
        raise DataError(f"embed: no row holds a text in {job.text_column!r}; {figures['rejected']} rows were rejected.")
    write_json(f"{job.out}/COMMITTED", {"units": [unit.name for unit in units]})
    return figures


def _embed(job: EmbedJob, units: Sequence[Unit], placement: StagePlacement) -> list[UnitDone]:
    rows = [{"unit": unit} for unit in units]
    workers = max(1, min(placement.workers, len(units)))
    data = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _Worker,
        fn_constructor_args=(job, placement.threads),
        batch_size=1,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=workers),
        **placement.data_options,
    )
    found = []
    with track("embed", total=len(units), unit="units") as bar:
        for row in data.iter_rows():
            found.append(UnitDone(**row["done"]))
            bar.advance()
    return found


class _Worker:
    """One per actor: opens the model once."""

    def __init__(self, job: EmbedJob, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._embedder = UnitEmbedder(job)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Embed the one unit of a batch."""
        return {"done": [asdict(self._embedder.embed(unit)) for unit in batch["unit"]]}
