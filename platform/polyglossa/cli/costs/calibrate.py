"""`polyglossa calibrate`: a minute of measurement on the machine at hand, for `polyglossa plan --calibration`."""

from pathlib import Path
from typing import Annotated

import typer

from polyglossa.costing.devices import write_calibration


def calibrate(
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path("runs/calibration.json"),
    device: Annotated[str | None, typer.Option(help="Name in profiles; default: the GPU's, or cpu-core.")] = None,
) -> None:
    """Measure this machine's training and embedding speed."""
    from polyglossa.capacity.measure import measure

    found = measure(device)
    write_calibration(out, found.device, found.start_scale)
    speeds = found.device
    typer.echo(
        f"{speeds.name}: training {speeds.training_rate / 1e9:,.0f} GFLOP/s + {speeds.token_seconds * 1e6:.1f} µs a "
        f"token, embedding {speeds.embedding_rate / 1e9:,.0f} GFLOP/s, starts {found.start_scale:.2f} × the "
        f"reference's. Written to {out}."
    )
