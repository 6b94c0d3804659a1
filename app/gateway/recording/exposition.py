"""Writes metrics in Prometheus's text format.

Names and buckets for model calls follow OpenTelemetry's semantic conventions for generative AI, in Prometheus's
spelling; names of gateway metrics begin with `dragoman_`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from app.gateway.large_bodies.heavy_work import run_heavy
from app.gateway.recording.metrics import (
    ATTEMPT_LABELS,
    DURATION,
    FIRST_TOKEN,
    OPERATION_NAMES,
    PER_TOKEN,
    TOKENS,
    TRAFFIC_LABELS,
    Histogram,
    Timing,
    Traffic,
)
from app.gateway.recording.workers import Whole

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
DOLLAR = 1e9

# Counters from Traffic: name, help, the fields with the value of their `type` label, and the divisor.
_COUNTERS: tuple[tuple[str, str, tuple[tuple[str, str], ...], float], ...] = (
    ("dragoman_requests", "Requests, by outcome", (("", "requests"),), 1),
    ("dragoman_tokens", "Tokens, each in one type, except reasoning, which is part of output",
     (("input", "fresh"), ("cache_read", "cache_read"), ("cache_write", "cache_written"), ("output", "output"),
      ("reasoning", "reasoning")), 1),
    ("dragoman_cost_usd", "List price of the tokens, in US dollars", (("", "cost"),), DOLLAR),
    ("dragoman_unpriced_requests", "Answers of models without a known price", (("", "unpriced"),), 1),
    ("dragoman_lossy_requests", "Requests of which a part could not be carried", (("", "lossy"),), 1),
    ("dragoman_lowered_requests", "Requests with a lowered limit", (("", "lowered"),), 1),
    ("dragoman_bytes", "Bytes of bodies", (("in", "bytes_in"), ("out", "bytes_out")), 1),
)  # fmt: skip
# Most counters have few labels: all of them would multiply the series for little gain.
_FEW = ("provider", "model")
_ALL = TRAFFIC_LABELS

# Histograms from Timing: name, help, bounds, and the fields with the value of their token type.
_HISTOGRAMS: tuple[tuple[str, str, Sequence[float], tuple[tuple[str, str], ...]], ...] = (
    ("gen_ai_client_token_usage", "Tokens of one request", TOKENS,
     (("input", "input"), ("output", "output"))),
    ("gen_ai_server_request_duration_seconds", "Time from the request to the end of its answer", DURATION,
     (("", "duration"),)),
    ("gen_ai_server_time_to_first_token_seconds", "Time from the request to the first token of a stream", FIRST_TOKEN,
     (("", "first_token"),)),
    ("gen_ai_server_time_per_output_token_seconds", "Time for each token of a stream after the first", PER_TOKEN,
     (("", "per_token"),)),
)  # fmt: skip


def write_metrics(whole: Whole, version: str) -> bytes:
    """The text of a scrape."""
    # Imported on the first scrape: most gateways are never scraped.
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(whole, version))
    return run_heavy(whole.counts.size, generate_latest, registry)


class _Collector:
    def __init__(self, whole: Whole, version: str) -> None:
        self._whole = whole
        self._version = version

    def collect(self) -> Iterator[Metric]:
        whole = self._whole
        yield from _count_traffic(whole.counts.traffic)
        yield from _spread(whole.counts.timing)
        yield from _state_metrics(whole, self._version)
        from prometheus_client.metrics_core import CounterMetricFamily

        attempts = CounterMetricFamily("dragoman_attempts", "Tries at upstreams", labels=ATTEMPT_LABELS)
        for tried in whole.counts.attempts:
            attempts.add_metric(tried.labels, tried.attempts)
        yield attempts


def _count_traffic(groups: Sequence[Traffic]) -> Iterator[Metric]:
    from prometheus_client.metrics_core import CounterMetricFamily

    for name, description, fields, unit in _COUNTERS:
        labels = _ALL if name == "dragoman_requests" else _FEW
        typed = bool(fields[0][0])
        family = CounterMetricFamily(name, description, labels=("type", *labels) if typed else labels)
        for kind, field in fields:
            for key, value in _sum_by(labels, groups, field).items():
                family.add_metric((kind, *key) if typed else key, value / unit if unit != 1 else value)
        yield family
    errors = CounterMetricFamily("dragoman_errors", "Requests that failed", labels=("error_type", "provider"))
    failed = [group for group in groups if group.labels[_ALL.index("error")]]
    for key, count in _sum_by(("error", "provider"), failed, "requests").items():
        errors.add_metric(key, count)
    yield errors


def _sum_by(labels: Sequence[str], groups: Sequence[Traffic], field: str) -> dict[tuple[str, ...], float]:
    """The sum of a field for each combination of values of the labels; none where it is zero."""
    places = [_ALL.index(label) for label in labels]
    sums: dict[tuple[str, ...], float] = {}
    for group in groups:
        if value := getattr(group, field):
            key = tuple(group.labels[place] for place in places)
            sums[key] = sums.get(key, 0) + value
    return sums


def _spread(timings: Sequence[Timing]) -> Iterator[Metric]:
    from prometheus_client.metrics_core import HistogramMetricFamily

    usual = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
    for name, description, bounds, parts in _HISTOGRAMS:
        typed = bool(parts[0][0])
        labels = (*usual, "gen_ai_token_type") if typed else usual
        family = HistogramMetricFamily(name, description, labels=labels)
        for timing in timings:
            for kind, field in parts:
                histogram: Histogram = getattr(timing, field)
                if any(histogram.counts):
                    operation, provider, model = timing.labels
                    attributes = (OPERATION_NAMES.get(operation, operation), provider, model)
                    family.add_metric(
                        (*attributes, kind) if typed else attributes, _buckets(histogram, bounds), histogram.sum
                    )
        yield family


def _buckets(histogram: Histogram, bounds: Sequence[float]) -> list[tuple[str, float]]:
    names = [*(repr(float(bound)) for bound in bounds), "+Inf"]
    return list(zip(names, accumulate(histogram.counts), strict=True))


def _state_metrics(whole: Whole, version: str) -> Iterator[Metric]:
    from prometheus_client.metrics_core import GaugeMetricFamily

    info = GaugeMetricFamily("dragoman_info", "The version that runs", labels=("version",))
    info.add_metric((version,), 1)
    yield info
    for name, description, value in (
        ("dragoman_workers", "Workers included here", whole.workers),
        ("dragoman_metrics_complete", "Whether all workers are included here", whole.complete),
    ):
        yield GaugeMetricFamily(name, description, value=float(value))
    families: dict[str, GaugeMetricFamily] = {}
    for gauge in whole.gauges:
        family = families.get(gauge.name)
        if family is None:
            family = families[gauge.name] = GaugeMetricFamily(gauge.name, gauge.help, labels=tuple(gauge.labels))
        family.add_metric(tuple(gauge.labels.values()), float(gauge.value))
    yield from families.values()
