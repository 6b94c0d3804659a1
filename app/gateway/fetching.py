"""Downloads files that a client named by URL, for upstreams that need the bytes.

The client chooses the address, so only public addresses are contacted, no redirect is followed, no credential is sent,
and size and time are limited. It is off unless the configuration enables it.
"""

from __future__ import annotations

import base64

import msgspec

from app.conversation.blocks import Block, File, Image, Inline, ToolResult, Url
from app.conversation.capabilities import Capabilities
from app.conversation.request import Request
from app.errors import InvalidRequest, UpstreamError, in_units
from app.transport import Call, Limits, Transport

LIMITS = Limits(connect=5.0, first_byte=10.0, idle=10.0, total=20.0)
MAX_BYTES = 20 * 1024 * 1024
# Limits for all URLs of one request together; no vendor accepts as much in one request.
MAX_URLS = 20
MAX_TOTAL_BYTES = 40 * 1024 * 1024
# Maximum characters of an address quoted in errors.
_QUOTED = 200


class Fetcher:
    """Fetches through its own transport, which connects to public addresses only."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def bring(self, request: Request, capabilities: Capabilities) -> Request:
        """Replaces every URL that the upstream would refuse with the bytes fetched from it. Raises InvalidRequest."""
        if capabilities.image_urls and capabilities.document_urls:
            return request
        basket = _FetchedFiles(self._transport, capabilities)
        turns = tuple(
            msgspec.structs.replace(turn, blocks=tuple(basket.bring(block) for block in turn.blocks))
            for turn in request.turns
        )
        return msgspec.structs.replace(request, turns=turns)


class _FetchedFiles:
    """What has been fetched for one request so far. Each URL is fetched only once, and its bytes count each time."""

    def __init__(self, transport: Transport, capabilities: Capabilities) -> None:
        self._transport = transport
        self._capabilities = capabilities
        self._left = MAX_TOTAL_BYTES
        self._fetched: dict[str, Inline] = {}

    def bring(self, block: Block) -> Block:
        match block:
            case Image(source=Url(url=url)) if not self._capabilities.image_urls:
                return msgspec.structs.replace(block, source=self._bring_url(url))
            case File(source=Url(url=url)) if not self._capabilities.document_urls:
                return msgspec.structs.replace(block, source=self._bring_url(url))
            case ToolResult():
                return msgspec.structs.replace(block, blocks=tuple(self.bring(part) for part in block.blocks))
            case _:
                return block

    def _bring_url(self, url: str) -> Inline:
        if url not in self._fetched:
            if len(self._fetched) >= MAX_URLS:
                raise InvalidRequest(
                    f"this request contains more than {MAX_URLS} URLs to fetch; send the bytes instead"
                )
            self._fetched[url] = self._fetch(url)
        found = self._fetched[url]
        self._left -= len(found.data) * 3 // 4
        if self._left < 0:
            raise InvalidRequest(f"the files behind this request's URLs are larger than {in_units(MAX_TOTAL_BYTES)}")
        return found

    def _fetch(self, url: str) -> Inline:
        named = url if len(url) <= _QUOTED else f"{url[:_QUOTED]}…"
        try:
            exchange = self._transport.send(Call("GET", url, {"user-agent": "dragoman"}, b"", LIMITS))
            try:
                exchange.wait_head()
                if exchange.status != 200:
                    target = exchange.headers.get("location", "")[:_QUOTED]
                    onward = f" and redirects to {target!r}, which is not followed" if target else ""
                    raise InvalidRequest(f"{named} cannot be fetched: it answered HTTP {exchange.status}{onward}")
                data = exchange.read_body(min(MAX_BYTES, self._left))
                media_type = exchange.headers.get("content-type", "application/octet-stream").partition(";")[0].strip()
            finally:
                exchange.close()
        except UpstreamError as error:
            raise InvalidRequest(f"{named} cannot be fetched: {error}") from error
        return Inline(media_type, base64.b64encode(data).decode("ascii"))
