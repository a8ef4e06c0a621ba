"""Prometheus metrics of the endpoint. One registry an ingress replica; the label `replica` names it.

Behind a proxy every scrape may reach another replica: with the label, each counter stays a series of its own.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Metrics:
    """Counters and histograms of the endpoint and of every member."""

    def __init__(self, replica: str) -> None:
        self.replica = replica
        self.registry = CollectorRegistry()
        registry = self.registry
        self.requests = Counter("polyglossa_requests", "Requests", ("path", "status", "model"), registry=registry)
        self.request_seconds = Histogram(
            "polyglossa_request_seconds", "Whole request", ("path",), buckets=_SECONDS, registry=registry
        )
        self.texts = Counter("polyglossa_texts", "Texts asked for", ("model",), registry=registry)
        self.tokens = Counter("polyglossa_tokens", "Tokens asked for", ("model",), registry=registry)
        self.shared = Counter(
            "polyglossa_texts_shared", "Texts that were under way or cached already", ("model",), registry=registry
        )
        self.queue_seconds = Histogram(
            "polyglossa_queue_seconds",
            "Oldest text's wait for a batch",
            ("model",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_fill = Histogram(
            "polyglossa_batch_fill", "Tokens of a batch over its budget", ("model",), buckets=_SHARES, registry=registry
        )
        self.batch_texts = Counter("polyglossa_batch_texts", "Texts sent to replicas", ("model",), registry=registry)
        self.padding = Counter("polyglossa_padding_tokens", "Padding in attention", ("model",), registry=registry)
        self.slots = Counter("polyglossa_computed_tokens", "Token slots of attention", ("model",), registry=registry)
        self.model_seconds = Counter("polyglossa_model_seconds", "Time in the model", ("model",), registry=registry)
        self.batches = Counter("polyglossa_batches", "Batches", ("model", "outcome"), registry=registry)
        self.waiting = Gauge("polyglossa_waiting_texts", "Distinct texts under way", ("model",), registry=registry)

    def render(self) -> bytes:
        """Write them in Prometheus' text format."""
        labelled = CollectorRegistry()
        labelled.register(_Labelled(self.registry, self.replica))
        return generate_latest(labelled)


class _Labelled(Collector):
    """A registry's samples with one more label."""

    def __init__(self, registry: CollectorRegistry, replica: str) -> None:
        self._registry, self._replica = registry, replica

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [
                sample._replace(labels={**sample.labels, "replica": self._replica}) for sample in metric.samples
            ]
            yield metric
