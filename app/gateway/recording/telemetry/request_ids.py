"""Derives trace and span ids from request ids.

Import it only if OpenTelemetry is in use.
"""

from __future__ import annotations

import hashlib
import re

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

_ID = re.compile(r"[0-9a-f]{32}")


class RequestIds(RandomIdGenerator):
    """Gives the first span after `begin` the ids derived from the request's id; later spans get random ones."""

    def __init__(self) -> None:
        self._trace: int | None = None
        self._span: int | None = None

    def begin(self, request_id: str) -> None:
        self._trace, self._span = trace_of(request_id), span_of(request_id)

    def generate_trace_id(self) -> int:
        trace, self._trace = self._trace, None
        return trace or super().generate_trace_id()

    def generate_span_id(self) -> int:
        span, self._span = self._span, None
        return span or super().generate_span_id()


def trace_of(request_id: str) -> int:
    """The trace id for a request without a parent: the request's id, or 0 if that is not a valid one."""
    return int(request_id, 16) if _ID.fullmatch(request_id) else 0


def span_of(request_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(request_id.encode(), digest_size=8).digest())
