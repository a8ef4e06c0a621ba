"""Scores of tasks: intervals, summaries, comparison, the promotion gate."""
