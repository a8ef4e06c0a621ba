"""Tokenise once: rows become bundles of a few hundred shuffled examples, each distinct text in a bundle once."""
