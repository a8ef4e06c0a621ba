"""Task adapters of a model directory: `adapters/<task>/`, in peft's form, beside the weights that they add to.

sentence-transformers loads the directory as it is, and an adapter by `model.load_adapter(f"{path}/adapters/sts")`.
"""

from pathlib import Path

FOLDER = "adapters"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def adapter_tasks(path: str) -> tuple[str, ...]:
    """List the tasks of a local model directory that have adapters, in order."""
    folder = Path(path, FOLDER)
    if not folder.is_dir():
        return ()
    found = (one.name for one in folder.iterdir() if (one / CONFIG).is_file())
    return tuple(sorted(found))


def adapter_folder(path: str, task: str) -> str:
    """Name the folder of a task's adapter."""
    return str(Path(path, FOLDER, task))
