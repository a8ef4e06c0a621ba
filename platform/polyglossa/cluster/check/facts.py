"""What a node tells of itself. Runs on the node, as a task; imports only what every image has."""

import os
import platform
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field

from polyglossa import __version__
from polyglossa.artifact import open_storage

IMAGE_VARIABLE = "POLYGLOSSA_IMAGE"
"""Environment variable that rendered pods carry: the image that they were asked to run."""


@dataclass(frozen=True)
class NodeFacts:
    """One node, as it sees itself."""

    node: str
    """Ray's id."""
    group: str
    host: str
    ray: str
    python: str
    polyglossa: str
    image: str | None
    clock: float
    """Seconds since 1970 when it was asked."""
    shm_free: int
    """Free bytes of /dev/shm."""
    store: int
    """Bytes that Ray's object store may take of it."""
    cpus: float
    gpus: float
    """What Ray plans with."""
    devices: tuple[str, ...] = ()
    """Each GPU that the driver sees, with the driver's version."""
    storage: str = ""
    """What went wrong with the storage; empty where it reads, writes, renames and shows what others wrote."""


@dataclass(frozen=True)
class Asked:
    """What a node is asked to try."""

    folder: str
    """Folder of the storage that the driver made for this check."""
    word: str
    """What the driver wrote there."""
    resources: dict[str, float] = field(default_factory=dict)


def look(node: str, group: str, asked: Asked) -> NodeFacts:
    """Tell what this node is, and try its storage."""
    import ray

    clock = time.time()
    return NodeFacts(
        node=node,
        group=group,
        host=socket.gethostname(),
        ray=ray.__version__,
        python=platform.python_version(),
        polyglossa=__version__,
        image=os.environ.get(IMAGE_VARIABLE),
        clock=clock,
        shm_free=shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else 0,
        store=int(asked.resources.get("object_store_memory", 0)),
        cpus=asked.resources.get("CPU", 0.0),
        gpus=asked.resources.get("GPU", 0.0),
        devices=see_gpus(),
        storage=try_storage(asked.folder, asked.word, node),
    )


def see_gpus() -> tuple[str, ...]:
    """Ask the driver for its GPUs: name and driver version of each; none where there is no driver."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in answer.stdout.splitlines() if line.strip())


def try_storage(folder: str, word: str, name: str) -> str:
    """Read what another node wrote, then write, rename, read again and remove a file.

    Returns:
        What failed first, in words; empty where all went well.
    """
    step = "read"
    try:
        filesystem, path = open_storage(folder)
        with filesystem.open_input_stream(f"{path}/word") as stream:
            if stream.read().decode() != word:
                return "another folder lies under this path here: what the driver wrote is not what this node reads"
        step = "write"
        with filesystem.open_output_stream(f"{path}/{name}.draft") as stream:
            stream.write(word.encode())
        step = "rename"
        filesystem.move(f"{path}/{name}.draft", f"{path}/{name}")
        step = "read back"
        with filesystem.open_input_stream(f"{path}/{name}") as stream:
            if stream.read().decode() != word:
                return "what was written is not what is read"
        step = "remove"
        filesystem.delete_file(f"{path}/{name}")
    except Exception as error:  # whatever a storage client raises is the finding
        return f"cannot {step}: {type(error).__name__}: {' '.join(str(error).split())[:160]}"
    return ""
