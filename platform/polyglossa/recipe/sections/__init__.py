"""Sections of a recipe, one file each, and the slices of it that stages are given."""
