"""What the service tells Prometheus about itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vecsv import __version__
from vecsv.errors import VecsvError
from vecsv.models.protocol import Embedder

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
"""Of what `Metrics.render` gives."""

_LATENCIES_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCH_CLIPS: Final = (1, 2, 4, 8, 16, 32, 64)
# A client may send any word as its method; each that is counted is kept for ever.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"})
# The same for addresses: only the routes' own templates are counted by name.
_UNKNOWN: Final = "other"


class Metrics:
    """Counters and gauges in a registry of their own.

    Safe to use from several threads. Each server process counts for itself.

    Parameters
    ----------
    models : mapping of str to Embedder
        What runs, by the store's name.
    queue_limit : int
        Clips that may wait.
    queue_depth : callable
        How many do; asked when the metrics are read.
    enrolled : callable
        Enrolled speakers by store; asked when the metrics are read. Where it raises a VecsvError or an OSError, the
        gauge is left out and the rest is given.

    Examples
    --------
    >>> metrics = Metrics({}, queue_limit=64, queue_depth=lambda: 3, enrolled=lambda: {"index": 2})
    >>> metrics.request("/v1/verify", "POST", 200, 0.03)
    >>> text = metrics.render().decode()
    >>> 'vecsv_requests_total{method="POST",route="/v1/verify",status="200"} 1.0' in text.splitlines()
    True
    """

    def __init__(
        self,
        models: Mapping[str, Embedder],
        *,
        queue_limit: int,
        queue_depth: Callable[[], int],
        enrolled: Callable[[], Mapping[str, int]],
    ) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self._requests = Counter(
            "vecsv_requests", "Requests answered.", ["route", "method", "status"], registry=registry
        )
        self._latency = Histogram(
            "vecsv_request_duration_seconds",
            "Time from a request's first byte to its answer.",
            ["route", "method"],
            buckets=_LATENCIES_S,
            registry=registry,
        )
        self._batches = Histogram(
            "vecsv_batch_clips", "Clips embedded together.", buckets=_BATCH_CLIPS, registry=registry
        )
        self._audio = Counter("vecsv_embedded_audio_seconds", "Audio that was embedded.", registry=registry)
        self._undecoded = Counter(
            "vecsv_decode_failures", "Clips that could not be decoded, by reason.", ["code"], registry=registry
        )
        self._refused = Counter(
            "vecsv_overload_refusals", "Requests refused because there was no room.", registry=registry
        )
        depth = Gauge("vecsv_queue_clips", "Clips waiting or being embedded.", registry=registry)
        depth.set_function(queue_depth)
        Gauge("vecsv_queue_limit_clips", "Clips there is room for.", registry=registry).set(queue_limit)
        build = Gauge("vecsv_build_info", "Version that runs.", ["version"], registry=registry)
        build.labels(__version__).set(1)
        self._models = Gauge(
            "vecsv_model_info",
            "Model of each store.",
            ["store", "model", "fingerprint", "engine"],
            registry=registry,
        )
        for store, model in models.items():
            self._models.labels(store, model.name, model.fingerprint, model.engine).set(1)
        registry.register(_Enrolled(enrolled))
        ProcessCollector(registry=registry)

    def request(self, route: str | None, method: str, status: int, seconds: float) -> None:
        """Count an answer.

        Parameters
        ----------
        route : str or None
            Template of the route, such as ``/v1/speakers/{id}``; None where the address is none of the service's.
        method : str
        status : int
        seconds : float
            How long it took.
        """
        name = _UNKNOWN if route is None else route
        verb = method if method in _METHODS else _UNKNOWN
        self._requests.labels(name, verb, str(status)).inc()
        self._latency.labels(name, verb).observe(seconds)

    def batch(self, clips: int, seconds: float) -> None:
        """Count clips that were embedded together, and the seconds of audio in them."""
        self._batches.observe(clips)
        self._audio.inc(seconds)

    def decode_failure(self, code: str) -> None:
        """Count a clip that could not be decoded; `code` is its AudioError's."""
        self._undecoded.labels(code).inc()

    def refusal(self) -> None:
        """Count a request that was refused because there was no room."""
        self._refused.inc()

    def render(self) -> bytes:
        """Give everything in Prometheus's text format, of type `CONTENT_TYPE`."""
        return generate_latest(self._registry)


@dataclass(frozen=True)
class _Enrolled(Collector):
    """Enrolled speakers of each store, as they are when somebody asks."""

    ask: Callable[[], Mapping[str, int]]

    def describe(self) -> Iterable[Metric]:
        """Only the name, without asking."""
        return [self._family()]

    def collect(self) -> Iterator[Metric]:
        """The numbers, where they can be had."""
        family = self._family()
        try:
            for store, speakers in self.ask().items():
                family.add_metric([store], speakers)
        except (VecsvError, OSError):
            return
        yield family

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily("vecsv_enrolled_speakers", "Speakers enrolled, by store.", labels=["store"])
