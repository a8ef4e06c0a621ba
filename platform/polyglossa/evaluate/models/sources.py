"""Open what can be evaluated: a model directory or an OpenAI-compatible endpoint."""

from polyglossa.embedding.state_sources import EndpointSource, StateSource, open_model
from polyglossa.errors import DataError
from polyglossa.evaluate.models.spec import ModelSpec


def open_source(spec: ModelSpec) -> StateSource:
    """Open a model.

    Raises:
        DataError: there is no model, or nothing here can read it.
    """
    if spec.endpoint is not None:
        return EndpointSource(spec.endpoint, spec.name.rpartition("/")[2], **spec.options)
    if spec.path is None:
        raise DataError(f"{spec.name}: has neither a directory nor an endpoint.")
    source = open_model(spec.path, dtype=spec.dtype or "float32", device=spec.device, max_tokens=spec.max_tokens)
    if spec.conditions is not None:
        source.read_as(max_tokens=spec.conditions.max_tokens, ends_texts=spec.conditions.ends_texts)
    return source
