"""Lets ranks with unlike processors settle on a precision, in real processes that meet over gloo.

python -m engine.settling RANK WORLD FOLDER      # FOLDER/groups.json → FOLDER/rank-<n>.json
"""

import json
import sys
from pathlib import Path

import torch.distributed as dist

from engine.worlds import join, launch
from polyglossa.engine.precision import settle_precision
from polyglossa.runtime.precision import DeviceFacts

NATIVE = DeviceFacts("native", gpu=False, native_bfloat16=True, bfloat16_speed=2.6)
EMULATED = DeviceFacts("emulated", gpu=False, native_bfloat16=False)


def settled(groups: list[list[bool]], folder: Path) -> list[list[str]]:
    """Let worker groups take up one run after another; returns what each rank computes in, group by group.

    Args:
        groups: of each group, which ranks compute bfloat16 natively.
        folder: takes the run's notes.
    """
    (folder / "groups.json").write_text(json.dumps(groups))
    world = len(groups[0])
    launch("engine.settling", world, folder)
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(world)]


def main() -> None:
    rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    join(rank, world, folder)
    found = []
    for natives in json.loads((folder / "groups.json").read_text()):
        own = NATIVE if natives[rank] else EMULATED
        found.append(settle_precision("bfloat16", own, str(folder / "checkpoints")).dtype)
        dist.barrier()
    (folder / f"rank-{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
