"""Search a recipe's `tune.space` and write the best recipe: `python jobs/tune.py RECIPE [--set A.B=VALUE]`."""

from polyglossa.cli.job import job

if __name__ == "__main__":
    job(__doc__ or "", until="tune")
