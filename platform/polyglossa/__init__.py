"""Polyglossa: a family of multilingual embedding models, from a corpus to an endpoint, on one Ray cluster."""

__version__ = "0.1.0"
