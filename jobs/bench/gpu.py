"""One session on one GPU: correctness first, then what it is worth. No Ray, no data, under nine minutes.

    python jobs/bench/gpu.py --out runs/bench/gpu.json                       # make bench-gpu
    PYTHONPATH=platform python jobs/bench/gpu.py --out gpu.json              # a bare machine: torch and transformers
    PYTHONPATH=platform python jobs/bench/gpu.py --tiny --out gpu.json       # every phase, tiny, on a processor

Random weights of the 0.6B and the 80M member in bfloat16. Phases are boxed in time and run in a child process; the
figures are written after each, so that one that fails costs itself. `polyglossa plan --calibration gpu.json` reads
them.
"""

import argparse
import importlib
import json
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from shared.gpu.supervise import Figures, Phase, run_phases, supervise

_LEAST_GIB = 16
_NEEDED = ("numpy", "torch", "transformers", "safetensors", "tokenizers")


def main() -> None:
    """Measure what the command line asks for."""
    options = _options()
    figures = Figures(Path(options.out))
    for package in _NEEDED:
        try:
            importlib.import_module(package)
        except ImportError as error:
            sys.exit(f"bench-gpu: {package} is missing ({error}); pip install torch transformers numpy.")
    if not options.tiny:
        _check_gpu()
    phases = _phases(options)
    if options.child:
        import torch

        if options.tiny:
            torch.set_num_threads(1)  # sizes are too small for two, which would wait for each other
        run_phases(
            phases, figures, ends=options.ends, say=lambda text: print(text, flush=True), works=lambda: _works(torch)
        )
        return
    kept = figures.read() if options.only else {"phases": {}}
    for phase in phases:
        kept["phases"].pop(phase.name, None)
    figures.write(kept)
    ends = time.time() + options.seconds
    supervise(phases, figures, lambda names: _command(options, names, ends), ends=ends)
    from shared.gpu.summary import summary

    print(json.dumps(summary(figures.read()["phases"])))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="runs/bench/gpu.json", help="JSON file for the figures of every phase")
    parser.add_argument("--seconds", type=float, default=530, help="longest time of the session")
    parser.add_argument("--only", nargs="*", help="phases to run; what the file holds of others stays")
    parser.add_argument("--tiny", action="store_true", help="run every phase at tiny sizes on a processor")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--ends", type=float, default=0.0, help=argparse.SUPPRESS)
    return parser.parse_args()


def _phases(options: argparse.Namespace) -> list[Phase]:
    from shared.gpu.models import GPU, TINY
    from shared.gpu.phases import phases

    made = phases(TINY if options.tiny else GPU, Path(options.out))
    unknown = set(options.only or ()) - {phase.name for phase in made}
    if unknown:
        sys.exit(f"bench-gpu: {', '.join(sorted(unknown))}: no such phase; {', '.join(p.name for p in made)} are.")
    return [phase for phase in made if options.only is None or phase.name in options.only]


def _command(options: argparse.Namespace, names: Sequence[str], ends: float) -> list[str]:
    command = [sys.executable, __file__, "--out", options.out, "--child", "--ends", str(ends), "--only", *names]
    return [*command, "--tiny"] if options.tiny else command


def _check_gpu() -> None:
    """Say in one line why nothing can be measured here."""
    import torch

    if torch.version.cuda is None:
        sys.exit(f"bench-gpu: torch {torch.__version__} is built without CUDA; install the CUDA build, or pass --tiny.")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = torch.cuda.is_available()
    if not found:
        why = str(said[0].message).splitlines()[0] if said else "the driver reports none"
        sys.exit(f"bench-gpu: no GPU that torch {torch.__version__} (CUDA {torch.version.cuda}) can use: {why}")
    gib = torch.cuda.get_device_properties(0).total_memory / 2**30
    if gib < _LEAST_GIB:
        sys.exit(f"bench-gpu: {torch.cuda.get_device_name(0)} has {gib:.0f} GiB; {_LEAST_GIB} GiB are needed.")
    if torch.cuda.get_device_capability(0) < (8, 0):
        sys.exit(f"bench-gpu: {torch.cuda.get_device_name(0)} computes no bfloat16; take an Ampere GPU or a later one.")


def _works(torch: object) -> bool:
    """Whether the GPU still answers."""
    cuda = torch.cuda  # type: ignore[attr-defined]
    if not cuda.is_available():
        return True
    try:
        cuda.empty_cache()
        cuda.synchronize()
    except Exception:
        return False
    return True


if __name__ == "__main__":
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    main()
