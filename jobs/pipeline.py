"""Run a whole recipe, from its corpus to a checked endpoint: `python jobs/pipeline.py RECIPE [--set a.b=value]`."""

from polyglossa.cli.job import job

if __name__ == "__main__":
    job(__doc__ or "", until=None)
