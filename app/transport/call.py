"""One HTTP request to an upstream, as data and as bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from msgspec import Struct
from requests import PreparedRequest, RequestException

from app.errors import UpstreamUnreachable

# Only these announce that they have no body (RFC 9110 section 8.6).
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})

# The transport alone decides how a message is framed, and asks for plain bytes: a compressed event stream comes in
# blocks, not events.
_OWN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "expect"})


class Limits(Struct, frozen=True):
    """How long an upstream may take, in seconds.

    `connect` covers name look-up, TCP and TLS; `first_byte` the silence until the reply's head; `idle` the silence
    between two reads of the body; `total` everything, connecting included. Only time spent waiting for the upstream
    counts as silence, not the time a slow client takes.
    """

    connect: float = 10.0
    first_byte: float = 600.0
    idle: float = 300.0
    total: float | None = None


class Call(Struct, frozen=True):
    """One HTTP request to an upstream. Framing headers and `accept-encoding` are the transport's, not the caller's.

    `may_resend` is asked before the request is sent a second time, because the kept connection it went out on had been
    closed; without it that is always done. `head` is what `encode_fields` makes of the call, where it was made before:
    most calls differ in their bodies only.
    """

    method: str
    url: str
    headers: dict[str, str]
    body: bytes = b""
    limits: Limits = Limits()
    may_resend: Callable[[], bool] | None = None
    head: bytes | None = None

    def __repr__(self) -> str:
        """Without headers and body: they hold the credential and the conversation."""
        return f"Call({self.method} {self.url})"


class Origin(Struct, frozen=True):
    """Who is connected to; connections are kept per origin."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Target(Struct, frozen=True):
    """A URL taken apart: `path` includes the query, `authority` is the text of the host header."""

    origin: Origin
    authority: str
    path: str


@lru_cache(maxsize=1024)
def locate(url: str) -> Target:
    """The parts of a URL, quoted and with its host in ASCII. Raises UpstreamUnreachable if it is none."""
    prepared = PreparedRequest()
    try:
        prepared.prepare_url(url, None)
        parts = urlsplit(prepared.url or "")
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (RequestException, ValueError, KeyError) as error:
        raise UpstreamUnreachable("the upstream's URL is not a valid http or https URL") from error
    path = parts.path or "/"
    return Target(
        origin=Origin(parts.scheme, parts.hostname or "", port),
        authority=parts.netloc.rpartition("@")[2],
        path=f"{path}?{parts.query}" if parts.query else path,
    )


def encode_head(call: Call, target: Target) -> bytes:
    """The request line and headers, with the blank line that ends them. Raises UpstreamUnreachable, as
    `encode_fields`."""
    head = call.head or encode_fields(call.method, target, call.headers)
    if call.body or call.method in _METHODS_WITH_BODY:
        return b"%bcontent-length: %d\r\n\r\n" % (head, len(call.body))
    return head + b"\r\n"


def encode_fields(method: str, target: Target, headers: Mapping[str, str]) -> bytes:
    """The head without the length and the blank line.

    Raises UpstreamUnreachable for a header that would break the framing (a line end in its name or value, RFC 9112
    section 2.2): nothing is sent then.
    """
    lines = [f"{method} {target.path} HTTP/1.1", f"host: {target.authority}", "accept-encoding: identity"]
    lines += [f"{name}: {value}" for name, value in headers.items() if name.lower() not in _OWN_HEADERS]
    head = "\r\n".join(lines)
    line_ends = len(lines) - 1
    try:
        encoded = head.encode("latin-1")
    except UnicodeEncodeError as error:
        raise UpstreamUnreachable("a header for the upstream has a character that HTTP cannot carry") from error
    if encoded.count(b"\n") != line_ends or encoded.count(b"\r") != line_ends or b"\0" in encoded:
        raise UpstreamUnreachable("a header for the upstream contains a line end")
    return encoded + b"\r\n"
