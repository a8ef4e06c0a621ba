"""What a task of the merge stage does on its worker: average models, or score one on some sources."""

from collections.abc import Sequence
from contextlib import ExitStack

import torch

from polyglossa.merge.validation import source_scores
from polyglossa.merge.weights import average, save
from polyglossa.model.encoder import Encoder
from polyglossa.storage import local_folder, writable_folder


def average_models(method: str, models: Sequence[str], weights: Sequence[float], threads: int, target: str) -> None:
    """Write the average of some models' float32 weights, or one of them as it is, to a model directory."""
    torch.set_num_threads(threads)
    with ExitStack() as stack:
        folders = [stack.enter_context(local_folder(model)) for model in models]
        encoder = Encoder.load(folders[0]) if len(folders) == 1 else average(method, folders, weights)
        with writable_folder(target) as folder:
            save(encoder, folder)


def score_model(
    model: str, pack_uri: str, sources: Sequence[str], queries: int, threads: int, device: str, dtype: str
) -> dict[str, float]:
    """Score a model on some sources."""
    torch.set_num_threads(threads)
    with local_folder(model) as folder:
        encoder = Encoder.load(folder)
    encoder.model.to(device, getattr(torch, dtype))
    return source_scores(encoder, pack_uri, sources, queries)
