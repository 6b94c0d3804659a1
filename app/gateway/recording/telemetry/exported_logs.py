"""Exports the log by OpenTelemetry, if the standard `OTEL_*` variables ask for it.

In addition to the lines in the terminal or a file, a collector gets one log record for each request, in the request's
trace, and the gateway's other messages.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from app.accounts.record import RequestRecord
from app.gateway.recording.telemetry.exporter import Export, make_resource, open_export
from app.gateway.recording.telemetry.traces import describe, find_parent
from app.logs import clean_line

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import LoggerProvider

    from app.gateway.recording.telemetry.collector_session import FindTransport


class ExportedLogs(Export[RequestRecord | logging.LogRecord]):
    """Exports request records, as their sink, and the log messages that `handler` receives."""

    def __init__(self, provider: LoggerProvider) -> None:
        super().__init__(provider, self._emit)
        self._logger = provider.get_logger("dragoman")
        self.handler = _Handler(self.add)

    def take(self, records: Iterable[RequestRecord]) -> None:
        for record in records:
            if record.operation:
                self.add(record)

    def close(self) -> None:
        logging.getLogger().removeHandler(self.handler)
        super().close()

    def _emit(self, entry: RequestRecord | logging.LogRecord) -> None:
        if isinstance(entry, RequestRecord):
            self._emit_request(entry)
        else:
            self._emit_message(entry)

    def _emit_request(self, record: RequestRecord) -> None:
        from opentelemetry._logs import SeverityNumber

        ended = int(record.received * 1e9) + record.times.end * 1_000_000
        failed = record.failed and record.status >= 500
        message = f"{record.method} {record.path}: {record.model} → {record.target or 'nowhere'}, {record.status}"
        self._logger.emit(
            timestamp=ended,
            observed_timestamp=ended,
            context=_context_of(record),
            severity_number=SeverityNumber.WARN if failed else SeverityNumber.INFO,
            severity_text="WARNING" if failed else "INFO",
            body=clean_line(f"{message}: {record.message}" if record.message else message),
            attributes=describe(record),
            event_name="dragoman.request",
        )

    def _emit_message(self, record: logging.LogRecord) -> None:
        from opentelemetry._logs import SeverityNumber

        # OpenTelemetry counts in fours: DEBUG 5, INFO 9, WARN 13, ERROR 17, FATAL 21.
        severity = SeverityNumber(min(21, max(1, record.levelno * 2 // 5 + 1)))
        fields: dict[str, Any] = {"code.file.path": record.module, "logger": record.name}
        if record.exc_info and record.exc_info[0] is not None:
            fields |= {
                "exception.type": record.exc_info[0].__name__,
                "exception.message": clean_line(str(record.exc_info[1])),
            }
        created = int(record.created * 1e9)
        self._logger.emit(
            timestamp=created,
            observed_timestamp=created,
            severity_number=severity,
            severity_text=record.levelname,
            body=clean_line(record.getMessage()),
            attributes=fields,
        )


class _Handler(logging.Handler):
    def __init__(self, add: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self.addFilter(lambda record: record.name.startswith("dragoman"))
        self._add = add

    def emit(self, record: logging.LogRecord) -> None:
        self._add(record)


def open_exported_logs(environ: Mapping[str, str], find_transport: FindTransport) -> ExportedLogs | None:
    """Starts exporting the log, including the gateway's messages from now on. None if it is not asked for, or the extra
    `otel` is not installed."""
    logs = open_export("logs", environ, lambda exporters: _build(exporters, environ, find_transport))
    if logs is not None:
        # At the root, because the handlers of our own logger are replaced with each change of the settings.
        logging.getLogger().addHandler(logs.handler)
    return logs


def _build(exporters: list[str], environ: Mapping[str, str], find_transport: FindTransport) -> ExportedLogs:
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, ConsoleLogRecordExporter

    provider = LoggerProvider(resource=make_resource(environ), shutdown_on_exit=False)
    if "console" in exporters:
        provider.add_log_record_processor(BatchLogRecordProcessor(ConsoleLogRecordExporter()))
    if "otlp" in exporters:
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

        from app.gateway.recording.telemetry.collector_session import find_session

        exporter = OTLPLogExporter(session=find_session(find_transport, "LOGS"))
        provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    return ExportedLogs(provider)


def _context_of(record: RequestRecord) -> Any:
    """The context of the request's own span."""
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, get_current_span, set_span_in_context

    from app.gateway.recording.telemetry.request_ids import span_of, trace_of

    parent = find_parent(record.trace)
    if parent is not None:
        above = get_current_span(parent).get_span_context()
        trace, flags = above.trace_id, above.trace_flags
    else:
        trace, flags = trace_of(record.id), TraceFlags(TraceFlags.SAMPLED)
    if not trace:
        return None
    return set_span_in_context(NonRecordingSpan(SpanContext(trace, span_of(record.id), False, flags)))
