"""Run a recipe until its `mine` artifacts are there: `python jobs/mine.py RECIPE [--set A.B=VALUE]`."""

from polyglossa.cli.job import job

if __name__ == "__main__":
    job(__doc__ or "", until="mine")
