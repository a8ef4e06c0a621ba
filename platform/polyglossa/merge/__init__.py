"""Merging: one model from several of the same shape, by averaging weights, kept only if it is better than each."""
