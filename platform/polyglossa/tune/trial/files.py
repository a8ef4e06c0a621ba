"""Paths of a trial's files within the folder of its search. Pure."""

import posixpath
from dataclasses import dataclass


@dataclass(frozen=True)
class TrialFiles:
    """Addresses of one trial's files."""

    training: str
    """Folder of its student's model and checkpoints; removed when the trial has ended."""
    kept: str
    """Folder of the checkpoint that another trial goes on from."""
    samples: str
    """The score of every query at the end."""


def trial_files(folder: str, number: int) -> TrialFiles:
    """Say where a trial's files lie.

    Args:
        folder: of the search, absolute.
        number: of the trial.
    """
    own = posixpath.join(folder, f"{number:05d}")
    return TrialFiles(
        training=posixpath.join(own, "training"),
        kept=posixpath.join(own, "kept"),
        samples=posixpath.join(own, "samples.json"),
    )
