"""Images and documents by URL, for upstreams that only take bytes."""

from __future__ import annotations

import base64

import pytest

from app.conversation.blocks import File, Image, Inline, Text, ToolResult, Url
from app.conversation.capabilities import Capabilities
from app.conversation.request import Request, Turn
from app.errors import InvalidRequest
from app.gateway.fetching import Fetcher
from app.transport import Transport, TransportSettings
from tests.support.fake_upstream import FakeUpstream, Reply

PICKY = Capabilities(dialect="openai_chat", image_urls=False)
PIXEL = b"\x89PNG\r\n\x1a\n pixel"


def asking(*blocks: object) -> Request:
    return Request(dialect="openai_chat", model="m", turns=(Turn("user", blocks),))  # type: ignore[arg-type]


def server(status: int = 200, body: bytes = PIXEL, **headers: str) -> FakeUpstream:
    return FakeUpstream(Reply((body,), status=status, headers={"content-type": "image/png; x=y", **headers}))


def fetch(request: Request, *, public_only: bool = False) -> Request:
    transport = Transport(TransportSettings(public_only=public_only))
    try:
        return Fetcher(transport).bring(request, PICKY)
    finally:
        transport.close()


def test_an_image_is_brought_as_bytes_also_inside_a_tool_result() -> None:
    with server() as host:
        image = Image(Url(f"{host.url}/a.png"))
        request = asking(Text("look"), image, ToolResult("c1", (image,)))

        text, direct, result = fetch(request).turns[0].blocks

    inline = Inline("image/png", base64.b64encode(PIXEL).decode())
    assert text == Text("look")
    assert direct == Image(inline)
    assert isinstance(result, ToolResult)
    assert result.blocks == (Image(inline),)
    assert "authorization" not in host.seen[0].headers


def test_nothing_is_fetched_for_an_upstream_that_takes_urls() -> None:
    request = asking(Image(Url("http://127.0.0.1:9/a.png")), File(Url("http://127.0.0.1:9/a.pdf")))
    able = Capabilities(dialect="openai_responses", image_urls=True, document_urls=True)

    assert Fetcher(Transport(TransportSettings(public_only=True))).bring(request, able) is request


def test_private_addresses_are_not_asked() -> None:
    with server() as host:
        for url in (f"{host.url}/a.png", f"http://localhost:{host.port}/a.png"):
            with pytest.raises(InvalidRequest, match="cannot be fetched"):
                fetch(asking(Image(Url(url))), public_only=True)

    assert host.seen == []


def test_a_redirect_is_not_followed() -> None:
    with server() as target, server(302, b"", location=f"{target.url}/secret") as host:
        with pytest.raises(InvalidRequest, match="HTTP 302"):
            fetch(asking(Image(Url(f"{host.url}/a.png"))))

        assert target.seen == []


def test_what_is_too_large_is_refused() -> None:
    with server(body=bytes(21 * 1024 * 1024)) as host, pytest.raises(InvalidRequest, match="larger"):
        fetch(asking(Image(Url(f"{host.url}/a.png"))))
