"""What a core of the machine at hand is to `polyglossa plan`, where a profile does not say.

`runtime.precision` decides here too. It is asked in a process of its own, for a plan loads no torch; and only where a
model runs on processors, for the answer takes two seconds.
"""

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace

from polyglossa.costing.devices import FLOAT32_CORE, NATIVE_CORE, Calibration
from polyglossa.errors import PolyglossaError
from polyglossa.pipeline.stages import STAGES
from polyglossa.recipe import Profile

_ASK = "from polyglossa.runtime.precision import device_facts; print(device_facts('cpu').gains_from_bfloat16)"


def with_this_processor(calibration: Calibration, profiles: Iterable[Profile]) -> Calibration:
    """Say what a core is where a profile leaves that open; a plan of named devices and GPUs asks nothing."""
    computing = [stage for stage in STAGES.values() if stage.cost.runs_model]
    placements = [stage.placement_in(profile) for profile in profiles for stage in computing]
    if all(placement.gpus or placement.device for placement in placements):
        return calibration
    return replace(calibration, core=core_name(gains_from_bfloat16=_asked()))


def core_name(*, gains_from_bfloat16: bool) -> str:
    """Name a core in the table of devices."""
    return NATIVE_CORE if gains_from_bfloat16 else FLOAT32_CORE


def _asked() -> bool:
    done = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        raise PolyglossaError(f"plan: cannot tell what this processor computes in ({last}); name it: device: cpu-core.")
    return done.stdout.split()[-1] == "True"
