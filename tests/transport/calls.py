"""Makes calls and reads replies, for the transport's tests."""

from __future__ import annotations

from app.transport import Call, Exchange, Limits, Transport

USUAL = Limits()


def post(url: str, body: bytes = b"{}", limits: Limits = USUAL, headers: dict[str, str] | None = None) -> Call:
    return Call("POST", url, headers or {}, body, limits)


def fetch(transport: Transport, url: str) -> bytes:
    """The body of the reply to a small call, the exchange closed."""
    exchange = transport.send(post(url))
    exchange.wait_head()
    body = exchange.read_body()
    exchange.close()
    return body


def read_parts(exchange: Exchange) -> list[bytes | None]:
    """All parts up to and without the empty one."""
    parts = []
    while (part := exchange.read_part()) != b"":
        parts.append(part)
    return parts
