from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

pytest.importorskip("prometheus_client")

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

import vecsv
from tests.fixtures.embedders import SpectralEmbedder
from vecsv.errors import StoreError
from vecsv.serve.metrics import CONTENT_TYPE, Metrics


def made(enrolled: Mapping[str, int] | None = None, depth: int = 0) -> Metrics:
    models = {"main": SpectralEmbedder(), "other": SpectralEmbedder(1)}
    return Metrics(models, queue_limit=64, queue_depth=lambda: depth, enrolled=lambda: enrolled or {})


def values(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample, by name and labels, as Prometheus would read it."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render().decode("utf-8"))
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return values(metrics).get((name, tuple(sorted(labels.items()))))


def test_requests_are_counted_by_route_method_and_status() -> None:
    metrics = made()
    for status in (200, 200, 503):
        metrics.request("/v1/verify", "POST", status, 0.03)
    at = {"route": "/v1/verify", "method": "POST"}
    assert value(metrics, "vecsv_requests_total", **at, status="200") == 2
    assert value(metrics, "vecsv_requests_total", **at, status="503") == 1


def test_latencies_fall_into_the_bucket_that_holds_them() -> None:
    metrics = made()
    metrics.request("/v1/search", "POST", 200, 0.03)
    at = {"route": "/v1/search", "method": "POST"}
    assert value(metrics, "vecsv_request_duration_seconds_bucket", **at, le="0.025") == 0
    assert value(metrics, "vecsv_request_duration_seconds_bucket", **at, le="0.05") == 1
    assert value(metrics, "vecsv_request_duration_seconds_sum", **at) == pytest.approx(0.03)


def test_what_clients_make_up_makes_no_new_series() -> None:
    metrics = made()
    metrics.request(None, "GET", 404, 0.0)
    before = len(values(metrics))
    for number in range(50):
        metrics.request(None, f"BREW{number}", 404, 0.0)
        metrics.request(None, "GET", 404, 0.0)
    assert value(metrics, "vecsv_requests_total", route="other", method="GET", status="404") == 51
    assert value(metrics, "vecsv_requests_total", route="other", method="other", status="404") == 50
    metrics.request(None, "BREW", 404, 0.0)
    one_more_method = 2 + len(["sum", "count", "created"]) + 13
    assert len(values(metrics)) - before == one_more_method


def test_batches_failures_and_refusals_are_counted() -> None:
    metrics = made()
    metrics.batch(3, 12.5)
    metrics.batch(1, 2.5)
    metrics.decode_failure("too-slow")
    metrics.refusal()
    metrics.refusal()
    assert value(metrics, "vecsv_embedded_audio_seconds_total") == 15.0
    assert value(metrics, "vecsv_batch_clips_bucket", le="1.0") == 1
    assert value(metrics, "vecsv_batch_clips_bucket", le="4.0") == 2
    assert value(metrics, "vecsv_decode_failures_total", code="too-slow") == 1
    assert value(metrics, "vecsv_overload_refusals_total") == 2


def test_gauges_are_asked_when_the_metrics_are_read() -> None:
    enrolled = {"main": 1}
    depth = [0]
    metrics = Metrics({}, queue_limit=7, queue_depth=lambda: depth[0], enrolled=lambda: enrolled)
    assert value(metrics, "vecsv_enrolled_speakers", store="main") == 1
    enrolled["main"], depth[0] = 5, 3
    assert value(metrics, "vecsv_enrolled_speakers", store="main") == 5
    assert value(metrics, "vecsv_queue_clips") == 3
    assert value(metrics, "vecsv_queue_limit_clips") == 7


def test_a_store_that_cannot_be_read_costs_only_its_own_gauge() -> None:
    def fail() -> Mapping[str, int]:
        raise StoreError("damaged")

    metrics = Metrics({}, queue_limit=1, queue_depth=lambda: 2, enrolled=fail)
    assert value(metrics, "vecsv_queue_clips") == 2
    assert not [name for name, _ in values(metrics) if name == "vecsv_enrolled_speakers"]


def test_version_and_models_are_told() -> None:
    metrics = made()
    assert value(metrics, "vecsv_build_info", version=vecsv.__version__) == 1
    known = {name: dict(labels) for name, labels in values(metrics) if dict(labels).get("store") == "other"}
    model = SpectralEmbedder(1)
    assert known["vecsv_model_info"] == {
        "store": "other",
        "model": model.name,
        "fingerprint": model.fingerprint,
        "engine": model.engine,
    }


def test_two_services_in_one_process_count_apart_and_off_the_global_registry() -> None:
    before = {family.name for family in REGISTRY.collect()}
    first, second = made(), made()
    first.refusal()
    assert value(second, "vecsv_overload_refusals_total") == 0
    assert {family.name for family in REGISTRY.collect()} == before


def test_counting_from_many_threads_loses_nothing() -> None:
    metrics = made()

    def count() -> None:
        for _ in range(500):
            metrics.request("/healthz", "GET", 200, 0.001)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value(metrics, "vecsv_requests_total", route="/healthz", method="GET", status="200") == 4000


def test_odd_names_are_escaped() -> None:
    metrics = made({'a "b"\n\\c': 4})
    assert value(metrics, "vecsv_enrolled_speakers", store='a "b"\n\\c') == 4
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")
