"""The client of any OpenAI-compatible embeddings endpoint: vectors for texts, and a fingerprint of what answers."""

from polyglossa.endpoint.client import EndpointClient

__all__ = ["EndpointClient"]
