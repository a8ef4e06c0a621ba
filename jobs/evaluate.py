"""Run a recipe until its `evaluate` artifacts are there: `python jobs/evaluate.py RECIPE [--set A.B=VALUE]`."""

from polyglossa.cli.job import job

if __name__ == "__main__":
    job(__doc__ or "", until="evaluate")
