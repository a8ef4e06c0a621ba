"""Clients of any OpenAI-compatible endpoint: vectors for texts with a fingerprint of what answers, and chats."""

from polyglossa.endpoint.client import EndpointClient

__all__ = ["EndpointClient"]
