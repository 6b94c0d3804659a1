"""Downloads what a client only named by URL, for upstreams that want the bytes.

The client chooses the address, so nothing but public ones is asked, no redirect is followed, no credential is shown,
and size and time are limited. It is off unless the configuration switches it on.
"""

from __future__ import annotations

import base64

import msgspec

from app.conversation.blocks import Block, File, Image, Inline, ToolResult, Url
from app.conversation.capabilities import Capabilities
from app.conversation.request import Request
from app.errors import InvalidRequest, UpstreamError
from app.transport import Call, Limits, Transport

LIMITS = Limits(connect=5.0, first_byte=10.0, idle=10.0, total=20.0)
MOST_BYTES = 20 * 1024 * 1024


class Fetcher:
    """Fetches with a transport of its own, which reaches public addresses only."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def bring(self, request: Request, capabilities: Capabilities) -> Request:
        """The request with bytes in the place of every URL that its upstream would refuse. Raises InvalidRequest."""
        if capabilities.image_urls and capabilities.document_urls:
            return request
        turns = tuple(
            msgspec.structs.replace(turn, blocks=tuple(self._bring(block, capabilities) for block in turn.blocks))
            for turn in request.turns
        )
        return msgspec.structs.replace(request, turns=turns)

    def _bring(self, block: Block, capabilities: Capabilities) -> Block:
        match block:
            case Image(source=Url(url=url)) if not capabilities.image_urls:
                return msgspec.structs.replace(block, source=self._fetch(url))
            case File(source=Url(url=url)) if not capabilities.document_urls:
                return msgspec.structs.replace(block, source=self._fetch(url))
            case ToolResult():
                inner = tuple(self._bring(part, capabilities) for part in block.blocks)
                return msgspec.structs.replace(block, blocks=inner)
            case _:
                return block

    def _fetch(self, url: str) -> Inline:
        try:
            exchange = self._transport.send(Call("GET", url, {"user-agent": "dragoman"}, b"", LIMITS))
            try:
                exchange.wait_head()
                if exchange.status != 200:
                    raise InvalidRequest(f"{url} cannot be fetched: it answers HTTP {exchange.status}")
                data = exchange.read_body(MOST_BYTES)
                media_type = exchange.headers.get("content-type", "application/octet-stream").partition(";")[0].strip()
            finally:
                exchange.close()
        except UpstreamError as error:
            raise InvalidRequest(f"{url} cannot be fetched: {error}") from error
        return Inline(media_type, base64.b64encode(data).decode("ascii"))
