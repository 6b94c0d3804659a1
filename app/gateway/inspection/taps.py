"""Who listens to what goes over the wire: the raw log, the inspector, or both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from app.credentials.credential import Credential
from app.gateway.inspection.inspector import Inspector
from app.gateway.record import Record
from app.gateway.recording.raw_log import RawLog
from app.providers.provider import Provider, UpstreamRequest
from app.transport import Exchange


class Listener(Protocol):
    """What is told of everything that one request sends and receives."""

    def client_request(self, environ: Mapping[str, Any], body: bytes) -> None: ...
    def client_response(self, status: str, headers: Sequence[tuple[str, str]]) -> None: ...
    def client_part(self, part: bytes) -> None: ...
    def tee(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        """The parts of a client's answer, as they pass."""
        ...

    def attempt(
        self, exchange: Exchange, provider: Provider, upstream_request: UpstreamRequest, credential: Credential | None
    ) -> Exchange:
        """The exchange of one attempt, listened to."""
        ...

    def close(self) -> None:
        """The request is over."""
        ...


class Taps:
    """What opens a listener for each request, while anybody listens."""

    def __init__(self, raw_log: RawLog | None, inspector: Inspector | None) -> None:
        self._raw_log = raw_log
        self._inspector = inspector

    def open(self, record: Record) -> Listener | None:
        """None for a request that nobody listens to."""
        files = self._raw_log.open(record.id, record.path) if self._raw_log is not None else None
        copied = self._inspector.open(record) if self._inspector is not None else None
        if files is not None and copied is not None:
            return _Both(files, copied)
        return files or copied


class _Both:
    def __init__(self, first: Listener, second: Listener) -> None:
        self._first = first
        self._second = second

    def client_request(self, environ: Mapping[str, Any], body: bytes) -> None:
        self._first.client_request(environ, body)
        self._second.client_request(environ, body)

    def client_response(self, status: str, headers: Sequence[tuple[str, str]]) -> None:
        self._first.client_response(status, headers)
        self._second.client_response(status, headers)

    def client_part(self, part: bytes) -> None:
        self._first.client_part(part)
        self._second.client_part(part)

    def tee(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        return self._second.tee(self._first.tee(parts))

    def attempt(
        self, exchange: Exchange, provider: Provider, upstream_request: UpstreamRequest, credential: Credential | None
    ) -> Exchange:
        listened = self._first.attempt(exchange, provider, upstream_request, credential)
        return self._second.attempt(listened, provider, upstream_request, credential)

    def close(self) -> None:
        self._first.close()
        self._second.close()
