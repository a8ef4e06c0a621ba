"""Attention over packed texts, and what each layer of a backbone attends to."""
