"""Observes what is sent and received for one request, for the raw log, the inspector, or both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from app.credentials.credential import Credential
from app.gateway.inspection.inspector import Inspector
from app.gateway.inspection.raw_log import RawLog
from app.providers.provider import Provider, UpstreamRequest
from app.transport import Exchange

if TYPE_CHECKING:
    from app.gateway.record import Record

REQUEST, REPLY = "client request", "client reply"


class Keeper(Protocol):
    """Keeps the messages of one request. They are named "client request", "client reply", "upstream request" and
    "upstream reply"; those of a further attempt end in its number."""

    def begin(self, name: str, first: str, headers: Mapping[str, str]) -> None:
        """Begins a message; `first` is its method and URL, or its status. Ignored if it has already begun."""
        ...

    def add(self, name: str, part: bytes) -> None:
        """Adds a part of a message's body."""
        ...

    def close(self) -> None:
        """Notes that the request is over."""
        ...


class Wiretap:
    """Passes the messages of one request to its keepers."""

    def __init__(self, keepers: Sequence[Keeper]) -> None:
        self._keepers = keepers
        self._attempts = 0

    def client_request(self, environ: Mapping[str, Any], body: bytes) -> None:
        query = environ.get("QUERY_STRING")
        path = environ.get("dragoman.path") or environ.get("PATH_INFO", "")
        first = f"{environ.get('REQUEST_METHOD', '')} {path}{f'?{query}' if query else ''}"
        headers = {
            name[5:].replace("_", "-").lower(): str(text) for name, text in environ.items() if name[:5] == "HTTP_"
        }
        self.begin(REQUEST, first, headers)
        self.add(REQUEST, body)

    def client_response(self, status: str, headers: Sequence[tuple[str, str]]) -> None:
        self.begin(REPLY, status, dict(headers))

    def client_part(self, part: bytes) -> None:
        self.add(REPLY, part)

    def tee(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        """Yields the parts of a client's answer, and keeps each."""
        try:
            for part in parts:
                self.add(REPLY, part)
                yield part
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()

    def attempt(
        self, exchange: Exchange, provider: Provider, upstream_request: UpstreamRequest, credential: Credential | None
    ) -> Exchange:
        """Wraps the exchange of one attempt so that its messages are kept."""
        self._attempts += 1
        number = f" {self._attempts}" if self._attempts > 1 else ""
        headers: Mapping[str, str]
        try:
            url = provider.url(upstream_request.operation, upstream_request.model)
            headers = provider.headers(upstream_request, credential)
        except LookupError:  # a provider without a server
            url, headers = provider.name, upstream_request.headers
        self.begin(f"upstream request{number}", f"POST {url}", headers)
        self.add(f"upstream request{number}", upstream_request.body)
        return _ListenedExchange(exchange, self, f"upstream reply{number}")

    def begin(self, name: str, first: str, headers: Mapping[str, str]) -> None:
        for keeper in self._keepers:
            keeper.begin(name, first, headers)

    def add(self, name: str, part: bytes) -> None:
        for keeper in self._keepers:
            keeper.add(name, part)

    def close(self) -> None:
        for keeper in self._keepers:
            keeper.close()


class Wiretaps:
    """Opens a wiretap for each request that the raw log or the inspector wants."""

    def __init__(self, raw_log: RawLog | None, inspector: Inspector | None) -> None:
        self._raw_log = raw_log
        self._inspector = inspector

    def open(self, record: Record) -> Wiretap | None:
        """The wiretap of a request, or None if neither wants it."""
        files = self._raw_log.open(record.id, record.path) if self._raw_log is not None else None
        copied = self._inspector.open(record) if self._inspector is not None else None
        keepers = [keeper for keeper in (files, copied) if keeper is not None]
        return Wiretap(keepers) if keepers else None


class _ListenedExchange(Exchange):
    """An exchange whose reply is kept as it is read."""

    def __init__(self, exchange: Exchange, tap: Wiretap, name: str) -> None:
        self._exchange = exchange
        self._tap = tap
        self._name = name
        self.status = 0
        self.headers = {}

    def wait_head(self, wait: float | None = None) -> bool:
        there = self._exchange.wait_head(wait)
        if there:
            self.status, self.headers = self._exchange.status, self._exchange.headers
            self._tap.begin(self._name, f"{self.status}", self.headers)
        return there

    def read_part(self, wait: float | None = None) -> bytes | None:
        part = self._exchange.read_part(wait)
        if part:
            self._tap.add(self._name, part)
        return part

    def close(self) -> None:
        self._exchange.close()
