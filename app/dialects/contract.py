"""The contract that every dialect keeps: the shapes of its functions, for the gateway and for the laws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.events import Event
from app.conversation.losses import Loss
from app.conversation.request import Request
from app.conversation.response import Response, Usage
from app.conversation.traits import DialectTraits
from app.errors import Failure


class RenderedRequest(msgspec.Struct, frozen=True):
    """A request as it goes upstream: JSON bytes, the headers that this very body needs (versions, betas), losses."""

    body: bytes
    headers: dict[str, str] = {}
    losses: tuple[Loss, ...] = ()


class StreamParser(Protocol):
    """Upstream side of a stream."""

    def feed(self, data: Sequence[bytes]) -> list[Event]:
        """Events of the `data` payloads of some SSE events, in order."""
        ...

    def close(self) -> list[Event]:
        """What remains at the end of input: nothing after `Finished`, else what the end means; a stream without its
        terminal event ends with `Failed`."""
        ...


class StreamRenderer(Protocol):
    """Client side of a stream."""

    def feed(self, events: Sequence[Event]) -> bytes:
        """Whole SSE events, joined. `Failed` gives the dialect's error event; nothing follows it."""
        ...

    def close(self) -> bytes:
        """What was held back for a usage that might still come, and the end of the stream. Called once, at the end
        of input; not after `Failed`."""
        ...

    def ping(self) -> bytes:
        """What keeps this dialect's clients waiting, at any time between two calls of `feed`."""
        ...


class StreamPassthrough(Protocol):
    """A stream whose dialect is the same on both sides: bytes pass, broken input is repaired."""

    @property
    def usage(self) -> Usage | None: ...

    @property
    def finished(self) -> bool:
        """Whether the terminal event has come."""
        ...

    def feed(self, part: bytes) -> bytes:
        """What the client gets of one read of the upstream's socket. May hold back the tail of an unfinished event."""
        ...

    def close(self) -> bytes:
        """The rest at a clean end of input; the dialect's error event if the stream was not complete."""
        ...

    def fail(self, failure: Failure) -> bytes:
        """The error event that ends a stream which broke."""
        ...

    def ping(self) -> bytes: ...


class Dialect(Protocol):
    """One dialect, as a module re-exports it."""

    @property
    def NAME(self) -> str:  # noqa: N802
        """The dialect's name, as settings and logs spell it."""
        ...

    @property
    def TRAITS(self) -> DialectTraits:  # noqa: N802
        """What the rest of the program must know of the dialect beside its code."""
        ...

    def parse_request(self, body: bytes, headers: Mapping[str, str]) -> Request:
        """A client's request; `headers` have lower-case names. Keeps what the neutral request has no place for as
        extensions or opaque blocks. Raises InvalidRequest, which names the field."""
        ...

    def render_request(self, request: Request, capabilities: Capabilities) -> RenderedRequest:
        """The body for an upstream. The request has been adapted to `capabilities`: calls are paired with results,
        names and ids are legal, settings are within limits. What has no form in this dialect is among the losses."""
        ...

    def parse_response(self, body: bytes) -> Response:
        """An upstream's whole answer. Raises UpstreamRefused for an error that came with status 200, UpstreamMalformed
        for what is no answer, UpstreamCut for half of one."""
        ...

    def render_response(self, response: Response, context: RenderContext) -> bytes:
        """A whole answer for a client, with the name of the model that it asked for."""
        ...

    def parse_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What an error of an upstream means, whatever shape its body has. Never raises."""
        ...

    def render_error(self, failure: Failure, request_id: str) -> bytes:
        """The body of an error for a client."""
        ...

    def error_status(self, failure: Failure) -> int:
        """The HTTP status by which clients of this dialect know such a failure."""
        ...

    def pass_request(self, body: bytes, capabilities: Capabilities) -> bytes | None:
        """The client's bytes for an upstream that takes them, with the upstream's name of the model; None if there is
        anything in them that it does not take, and the request has to go through the conversation. Only looks, and
        must cost little. Raises InvalidRequest for what is no JSON object."""
        ...

    def repair_response(self, body: bytes, context: RenderContext, capabilities: Capabilities) -> bytes:
        """A whole answer that passes: the client's name of the model, and what clients would fail at set right. Raises
        as `parse_response` does."""
        ...

    def find_usage(self, body: bytes) -> Usage | None:
        """The counts of a whole answer, without reading the rest of it; None where it has none."""
        ...

    def StreamParser(self) -> StreamParser: ...  # noqa: N802
    def StreamRenderer(self, context: RenderContext) -> StreamRenderer: ...  # noqa: N802
    def StreamPassthrough(self, context: RenderContext, capabilities: Capabilities) -> StreamPassthrough: ...  # noqa: N802
