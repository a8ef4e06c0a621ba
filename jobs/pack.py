"""Run a recipe until its `pack` artifacts are there: `python jobs/pack.py RECIPE [--set a.b=value] [--profile FILE]`."""

from polyglossa.pipelines.command import job

if __name__ == "__main__":
    job(__doc__ or "", until="pack")
