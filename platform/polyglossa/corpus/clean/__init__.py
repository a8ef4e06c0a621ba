"""Cleaning rules: normalisation, languages, duplicates, contamination, sampling. No Ray."""
