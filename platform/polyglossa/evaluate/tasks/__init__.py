"""Evaluation tasks: from files, by mteb's names, from held-out sets."""
