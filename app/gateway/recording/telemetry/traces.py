"""Exports requests as OpenTelemetry traces, if the standard `OTEL_*` variables ask for them.

Spans are made from finished records, so that no request waits for them: one for the request, with children for its
attempts and steps. A client's W3C context is the parent. Without one, the trace id is the request's id, so that a log
line leads to its trace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from app.accounts.record import AttemptRecord, RequestRecord
from app.gateway.recording.metrics import OPERATION_NAMES
from app.gateway.recording.telemetry.exporter import Export, make_resource, open_export
from app.logs import hide_secrets

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from app.gateway.recording.telemetry.collector_session import FindTransport
    from app.gateway.recording.telemetry.request_ids import RequestIds

_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class Traces(Export[RequestRecord]):
    """A sink of records."""

    def __init__(self, provider: TracerProvider, ids: RequestIds) -> None:
        super().__init__(provider, self._trace)
        self._ids = ids
        self._tracer = provider.get_tracer("dragoman")

    def take(self, records: Iterable[RequestRecord]) -> None:
        for record in records:
            if record.operation:  # anything but API requests is not traced
                self.add(record)

    def _trace(self, record: RequestRecord) -> None:
        from opentelemetry.trace import SpanKind, set_span_in_context

        received = int(record.received * 1e9)
        self._ids.begin(record.id)
        span = self._tracer.start_span(
            hide_secrets(f"{OPERATION_NAMES.get(record.operation, record.operation)} {record.model}".strip()),
            context=find_parent(record.trace),
            kind=SpanKind.SERVER,
            attributes=describe(record),
            start_time=received,
        )
        within = set_span_in_context(span)
        for step in record.steps:
            fields = {"dragoman.about": hide_secrets(step.about)}
            start = received + step.started * 1_000_000
            child = self._tracer.start_span(step.name, context=within, attributes=fields, start_time=start)
            child.end(received + step.ended * 1_000_000)
        for attempt in record.attempts:
            child = self._tracer.start_span(
                hide_secrets(f"attempt {attempt.target}"),
                context=within,
                kind=SpanKind.CLIENT,
                attributes=_describe_attempt(attempt),
                start_time=received + attempt.started * 1_000_000,
            )
            _end(child, attempt.error, attempt.message, received + attempt.ended * 1_000_000)
        _end(span, (record.error or record.terminal) if record.failed else "", record.message,
             received + record.times.end * 1_000_000)  # fmt: skip


def open_traces(environ: Mapping[str, str], find_transport: FindTransport) -> Traces | None:
    """Starts exporting traces. None if they are not asked for, or the extra `otel` is not installed."""
    return open_export("traces", environ, lambda exporters: _build(exporters, environ, find_transport))


def _build(exporters: list[str], environ: Mapping[str, str], find_transport: FindTransport) -> Traces:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    from app.gateway.recording.telemetry.request_ids import RequestIds

    ids = RequestIds()
    provider = TracerProvider(resource=make_resource(environ), shutdown_on_exit=False, id_generator=ids)
    if "console" in exporters:
        provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
    if "otlp" in exporters:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        from app.gateway.recording.telemetry.collector_session import find_session

        exporter = OTLPSpanExporter(session=find_session(find_transport, "TRACES"))
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return Traces(provider, ids)


def find_parent(header: str) -> Any:
    """The context of a `traceparent` header; None if it is invalid, which starts a new trace."""
    found = _PARENT.fullmatch(header) if header else None
    if found is None or not int(found[1], 16) or not int(found[2], 16):
        return None
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    flags = TraceFlags(int(found[3], 16))
    return set_span_in_context(NonRecordingSpan(SpanContext(int(found[1], 16), int(found[2], 16), True, flags)))


def describe(record: RequestRecord) -> dict[str, Any]:
    """The attributes of a request's span. Clients choose the names of models and sessions, so secrets are masked."""
    usage, times = record.usage, record.times
    fields: dict[str, Any] = {
        "gen_ai.operation.name": OPERATION_NAMES.get(record.operation, record.operation),
        "gen_ai.provider.name": record.provider,
        "gen_ai.request.model": record.model,
        "gen_ai.response.model": record.target.partition("/")[2],
        "gen_ai.conversation.id": record.session,
        "http.request.method": record.method,
        "http.response.status_code": record.status,
        "url.path": record.path,
        "user_agent.original": record.agent,
        "dragoman.request_id": record.id,
        "dragoman.key": record.key,
        "dragoman.rule": record.rule,
        "dragoman.dialect_in": record.dialect_in,
        "dragoman.dialect_out": record.dialect_out,
        "dragoman.losses": record.losses,
        "dragoman.lowered": record.lowered,
        "dragoman.first_byte_ms": times.first_byte,
        "dragoman.first_token_ms": times.first_token,
        "dragoman.cost_usd": None if record.cost is None else record.cost / 1e9,
    }
    if usage is not None:
        fields |= {
            "gen_ai.usage.input_tokens": usage.input,
            "gen_ai.usage.output_tokens": usage.output,
            "dragoman.usage.cache_read_tokens": usage.cache_read,
        }
    return {
        name: hide_secrets(value) if isinstance(value, str) else value
        for name, value in fields.items()
        if value not in (None, "", ())
    }


def _describe_attempt(attempt: AttemptRecord) -> dict[str, Any]:
    fields = {
        "http.response.status_code": attempt.status,
        "dragoman.credential": attempt.credential,
        "dragoman.waited_ms": attempt.waited,
    }
    return {name: value for name, value in fields.items() if value}


def _end(span: Any, error: str, message: str, end: int) -> None:
    if error:
        from opentelemetry.trace import Status, StatusCode

        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR, message))
    span.end(end)
