"""The client of any OpenAI-compatible embeddings endpoint: vectors for texts, and a fingerprint of what answers."""

from polyglossa.endpoint.client import EndpointClient
from polyglossa.endpoint.errors import EndpointError, RequestRefused

__all__ = ["EndpointClient", "EndpointError", "RequestRefused"]
