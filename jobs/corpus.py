"""Run a recipe until its `corpus` artifacts are there: `python jobs/corpus.py RECIPE [--set A.B=VALUE]`."""

from polyglossa.cli.job import job

if __name__ == "__main__":
    job(__doc__ or "", until="corpus")
