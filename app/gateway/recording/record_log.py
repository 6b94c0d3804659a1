"""Writes one log line per request."""

from __future__ import annotations

import logging

from app.accounts.record import RequestRecord
from app.errors import STATUS
from app.logs import request_log


class RecordLog:
    """A sink of records. No field of a line contains bodies or credentials."""

    def take(self, record: RequestRecord) -> None:
        if not request_log.enabled:
            return
        level = _level(record)
        if level >= request_log.level:
            request_log.tell(_describe(record), level)


def _describe(record: RequestRecord) -> dict[str, object]:
    times, usage = record.times, record.usage
    line: dict[str, object] = {
        "id": record.id,
        "method": record.method,
        "path": record.path,
        "in": record.dialect_in,
        "out": record.dialect_out,
        "model": record.model,
        "upstream": record.target,
        "status": record.status,
        "terminal": record.terminal,
        "stream": record.stream,
        "attempts": len(record.attempts),
        "ttfb_ms": times.first_byte,
        "ms": times.end,
    }
    if usage is not None:
        line["tokens_in"] = usage.input
        line["tokens_cached"] = usage.cache_read
        line["tokens_out"] = usage.output
        if usage.estimated:
            line["tokens_estimated"] = True
    if record.upstream_status is not None:
        line["upstream_status"] = record.upstream_status
    for name, value in (
        ("trace", record.trace[3:35]),
        ("session", record.session),
        ("key", record.key),
        ("agent", record.agent),
        ("peer", record.peer),
        ("upstream_request_id", record.upstream_request_id),
        ("error", record.error),
        ("origin", record.origin),
        ("credential", record.attempts[-1].credential if record.attempts else ""),
        ("passed_over", record.passed_over),
        ("message", record.message),
        ("matched", record.rule),
        ("dropped", record.losses),
        ("lowered", record.lowered),
    ):
        if value:
            line[name] = value
    return line


def _level(record: RequestRecord) -> int:
    """The level of a line. What an operator must notice is a warning: faults of upstreams or the gateway, and refused
    credentials."""
    error = record.error
    if error:
        lasting = error == "upstream_auth" or STATUS.get(error, 0) >= 500  # type: ignore[call-overload]
        return logging.WARNING if lasting or record.status >= 500 else logging.INFO
    return logging.DEBUG if record.quiet else logging.INFO
