"""One HTTP request to an upstream, as data and as bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from msgspec import Struct

from app.errors import UpstreamUnreachable

# Only these methods send a length of 0 for an empty body (RFC 9110 section 8.6).
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})

# Only the transport decides how a message is framed. It also asks for plain bytes, since a compressed event stream
# arrives in blocks, not in events.
_OWN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "expect"})

# URLs that requests would not change: nothing to quote, no dot segments, no user, the host in small ASCII letters.
_PLAIN_URL = re.compile(
    r"https?://[a-z0-9][a-z0-9.-]*(:[1-9][0-9]{0,4})?(/(?!\.)[\w~!$&'()*+,;=:@.-]*)*(\?[\w~!$&'()*+,;=:@/?.-]*)?",
    re.ASCII,
)

# No server takes longer ones, and clients name some: whatever is found out about a URL or a host is kept for a while.
_MAX_URL = 8192


class Limits(Struct, frozen=True):
    """Time limits for an upstream, in seconds.

    `connect` covers name look-up, TCP and TLS; `first_byte` the silence before the reply's head; `idle` the silence
    between two reads of the body; `total` everything, including the connection. Only time spent waiting for the
    upstream counts as silence, not the time that a slow client takes.
    """

    connect: float = 10.0
    first_byte: float = 600.0
    idle: float = 300.0
    total: float | None = None


class Call(Struct, frozen=True):
    """One HTTP request to an upstream. The transport sets framing headers and `accept-encoding`, not the caller.

    If the upstream had already closed the kept connection that was used, `may_resend` decides whether the request is
    sent again on a new one; without it, it always is. `head` is the result of `encode_fields` if that is known already,
    since most calls differ only in their bodies.
    """

    method: str
    url: str
    headers: dict[str, str]
    body: bytes = b""
    limits: Limits = Limits()
    may_resend: Callable[[], bool] | None = None
    head: bytes | None = None

    def __repr__(self) -> str:
        """Leaves out headers and body, which contain the credential and the conversation."""
        return f"Call({self.method} {self.url})"


class Origin(Struct, frozen=True):
    """The server to connect to. Connections are kept per origin."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Target(Struct, frozen=True):
    """The parts of a URL. `path` includes the query, `authority` is the value of the Host header."""

    origin: Origin
    authority: str
    path: str


@lru_cache(maxsize=1024)
def locate(url: str) -> Target:
    """The parts of a URL, quoted and with the host in ASCII. Raises UpstreamUnreachable for an invalid URL."""
    if len(url) > _MAX_URL:
        raise UpstreamUnreachable(f"the upstream's URL is longer than {_MAX_URL:,} characters")
    try:
        parts = urlsplit(url if _PLAIN_URL.fullmatch(url) else _prepare_url(url))
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (OSError, ValueError, KeyError) as error:  # requests' exceptions are OSErrors
        raise UpstreamUnreachable("the upstream's URL is not a valid http or https URL") from error
    path = parts.path or "/"
    return Target(
        origin=Origin(parts.scheme, parts.hostname or "", port),
        authority=parts.netloc.rpartition("@")[2],
        path=f"{path}?{parts.query}" if parts.query else path,
    )


def _prepare_url(url: str) -> str:
    # Imported here, as everywhere in a worker: most of them need no requests, which takes three megabytes.
    from requests import PreparedRequest

    prepared = PreparedRequest()
    prepared.prepare_url(url, None)
    return prepared.url or ""


def encode_head(call: Call, target: Target) -> bytes:
    """The request line and headers, with the blank line that ends them. Raises UpstreamUnreachable as `encode_fields`
    does."""
    head = call.head or encode_fields(call.method, target, call.headers)
    if call.body or call.method in _METHODS_WITH_BODY:
        return b"%bcontent-length: %d\r\n\r\n" % (head, len(call.body))
    return head + b"\r\n"


def encode_fields(method: str, target: Target, headers: Mapping[str, str]) -> bytes:
    """The head without Content-Length and the blank line.

    Raises UpstreamUnreachable for a header that would break the framing (a line end in its name or value, RFC 9112
    section 2.2). Then nothing is sent.
    """
    lines = [f"{method} {target.path} HTTP/1.1", f"host: {target.authority}", "accept-encoding: identity"]
    lines += [f"{name}: {value}" for name, value in headers.items() if name.lower() not in _OWN_HEADERS]
    head = "\r\n".join(lines)
    line_ends = len(lines) - 1
    try:
        encoded = head.encode("latin-1")
    except UnicodeEncodeError as error:
        raise UpstreamUnreachable("a header for the upstream contains a character that HTTP does not allow") from error
    if encoded.count(b"\n") != line_ends or encoded.count(b"\r") != line_ends or b"\0" in encoded:
        raise UpstreamUnreachable("a header for the upstream contains a line break")
    return encoded + b"\r\n"
