"""The contract of a dialect: what others may call, and what it may rely on.

A dialect is a package that re-exports these names; `mypy` compares it with the protocols below, and the laws
(tests/laws) prove what types cannot say. Everything here is pure: no I/O, no clock, no random number. Functions never
change what they are given, and the same input gives the same output. Bytes of JSON are UTF-8; all counts are tokens,
all times unix seconds.
"""

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
from app.dialects.runs import Run
from app.errors import Failure


class RenderedRequest(msgspec.Struct, frozen=True):
    """A request as it goes upstream: the JSON object as bytes, the headers that this very body needs (versions, betas;
    lower-case names, no credential), and what could not be carried, not yet settled by any policy."""

    body: bytes
    headers: dict[str, str] = {}
    losses: tuple[Loss, ...] = ()


class StreamParser(Protocol):
    """The upstream side of one stream: SSE payloads in, events out. One object for each reply.

    Its events keep the lifecycle of `app.conversation.events`: `Started` first (it may be missing in a stream that
    fails at once), then blocks whose `index` counts their openings; each opens once, closes once, and has its deltas in
    between; blocks may overlap. Exactly one `Finished` or `Failed` ends the stream, counting what `close` returns.
    `UsageSeen` holds totals and may come before or after `Finished`.
    """

    def feed(self, data: Sequence[bytes]) -> list[Event]:
        """The events of the `data` payloads of some SSE events, in order: possibly none, and none after the end.

        Called for each read of the socket with whole payloads, however the bytes were cut. Raises nothing: a payload
        that cannot be read, or an error that the upstream reports, gives `Failed`; an event of a type that nobody knows
        is read over.
        """
        ...

    @property
    def steady(self) -> bool:
        """Whether the last payload said nothing but its `BlockDelta`, and one that differs from it in that text alone
        would give the same event with that text."""
        ...

    @property
    def growing(self) -> list[bytes] | None:
        """The literals of the block that the last delta added to, where the parser keeps them: what is read without it
        goes there as well."""
        ...

    def close(self) -> list[Event]:
        """What remains at the end of input. Called once, after the last `feed`.

        Gives nothing if the stream has ended, but for counts that were held back; else `Failed`: a stream without its
        terminal event is cut, never complete.
        """
        ...


class StreamRenderer(Protocol):
    """The client side of one stream: events in, the bytes of whole SSE events out. One object for each reply.

    Relies on the lifecycle that StreamParser promises; blocks may overlap, and a renderer whose wire has one open block
    at a time puts them in order. Blocks that the dialect cannot show are left out.
    """

    def feed(self, events: Sequence[Event]) -> bytes:
        """Whole SSE events, joined; empty if these events say nothing to the client yet.

        Called as soon as events are there, and what comes back is sent at once. `Failed` gives the dialect's error
        event; nothing follows it, whatever is fed. Raises nothing.
        """
        ...

    def feed_run(self, run: Run) -> bytes:
        """What `feed` gives for the deltas of a run."""
        ...

    def close(self) -> bytes:
        """The end of the stream, with what was held back for counts that might still have come.

        Called once, at the end of input, also after `Failed` (then there is nothing left to say). If neither
        `Finished` nor `Failed` was fed the answer was cut, and its client gets an error event.
        """
        ...

    def ping(self) -> bytes:
        """What keeps this dialect's clients waiting: an event or a comment that they read over. May be asked for at any
        time between two calls of `feed`, also before the first."""
        ...


class StreamPassthrough(Protocol):
    """A stream whose dialect is the same on both sides: bytes pass, and only what clients would fail at is mended.

    What is clean leaves byte by byte as it came, but for the model's name. Holds back no more than the tail of an
    unfinished SSE event.
    """

    @property
    def usage(self) -> Usage | None:
        """The counts that have passed so far, in tokens; None where there were none."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the terminal event has come."""
        ...

    def run(self, part: bytes) -> tuple[bytes, bytes]:
        """What the client gets of the deltas that one read of the upstream's socket begins with, if they are like the
        event before them, and what else there is to be fed; nothing, and `part`, where there is no such run.

        It holds nothing but more of the model's text in events like those that were given out before.
        """
        ...

    def feed(self, part: bytes) -> bytes:
        """What the client gets of one read of the upstream's socket, cut anywhere.

        Raises UpstreamRefused for a failure that comes before anything was given to the client, which can still be a
        status of its own or another attempt. A later one leaves as the dialect's error event.
        """
        ...

    def close(self) -> bytes:
        """The rest at the end of input, called once: the dialect's error event if the stream was not complete. Raises
        as `feed` does."""
        ...

    def fail(self, failure: Failure) -> bytes:
        """The error event that ends a stream whose connection broke or was broken off; nothing may be fed after it.

        An answer that is whole stays so: after the terminal event this gives what ends the stream normally, if anything
        is left of that. Empty if the stream has failed already.
        """
        ...

    def ping(self) -> bytes:
        """As StreamRenderer.ping; never inside an event that has left in part."""
        ...


class ClientDialect(Protocol):
    """A dialect that clients speak. Whatever they send is hostile: each function reads bodies of any size and shape in
    time that grows with their length, and refuses with an error of ours or answers."""

    @property
    def NAME(self) -> str:  # noqa: N802
        """The dialect's name, as settings and logs spell it: `vendor_api`."""
        ...

    @property
    def TRAITS(self) -> DialectTraits:  # noqa: N802
        """What the rest of the program must know of the dialect beside its code."""
        ...

    def parse_request(self, body: bytes, headers: Mapping[str, str]) -> Request:
        """A client's request. `headers` have lower-case names.

        What the neutral request has no place for is kept as extensions or opaque blocks, each with what its loss would
        mean, so that nothing is lost unnoticed. Called once for each request that is translated, not for one that
        passes. Raises InvalidRequest, which names the field and what it must be.
        """
        ...

    def parse_response(self, body: bytes) -> Response:
        """An upstream's whole answer: the same as the fold of the same answer as a stream.

        Raises UpstreamRefused for an error that came with status 200, UpstreamMalformed for what is no answer,
        UpstreamCut for half of one.
        """
        ...

    def render_response(self, response: Response, context: RenderContext) -> bytes:
        """A whole answer for a client, as a JSON object, with the name of the model that it asked for.

        `context` brings the id and the time. Raises UpstreamCut for a response that has no end.
        """
        ...

    def parse_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What an error of an upstream means, whatever shape its body has. `status` is its HTTP status; `headers` have
        lower-case names. Raises nothing."""
        ...

    def render_error(self, failure: Failure, request_id: str) -> bytes:
        """The body of an error for a client, as a JSON object. `failure` holds no secrets any more."""
        ...

    def error_status(self, failure: Failure) -> int:
        """The HTTP status by which clients of this dialect know such a failure; their SDKs choose an exception, and
        whether to try again, by it."""
        ...

    def pass_request(self, body: bytes, capabilities: Capabilities) -> bytes | None:
        """The client's bytes for an upstream of this dialect that takes them, with the upstream's name of the model;
        None if there is anything in them that it does not take, and the request has to be translated.

        Only looks and changes nothing else. On the path of every request between two sides of one dialect, so it must
        cost little and decode no more than decides. What passes is what the adaptation would have left alone. Raises
        InvalidRequest for what is not a JSON object.
        """
        ...

    def pass_response(
        self, body: bytes, context: RenderContext, capabilities: Capabilities
    ) -> tuple[bytes, Usage | None]:
        """A whole answer that passes, with its counts where it has some: the client's name of the model, and what
        clients would fail at mended. A clean answer leaves byte by byte. Raises as `parse_response` does."""
        ...

    def StreamParser(self) -> StreamParser:  # noqa: N802
        """Reads one stream of an upstream."""
        ...

    def StreamRenderer(self, context: RenderContext) -> StreamRenderer:  # noqa: N802
        """Writes one stream for the client of `context`."""
        ...

    def StreamPassthrough(self, context: RenderContext, capabilities: Capabilities) -> StreamPassthrough:  # noqa: N802
        """Passes one stream on to the client of `context`. By `capabilities` it knows what the upstream may send that
        has to be read, as calls or thoughts inside a text."""
        ...


class Dialect(ClientDialect, Protocol):
    """A dialect that upstreams speak too, so that clients of every other dialect reach them."""

    def render_request(self, request: Request, capabilities: Capabilities) -> RenderedRequest:
        """The body for an upstream.

        `request` has been adapted to `capabilities`: calls are paired with results, names and ids are legal, settings
        are within limits. What has no form in this dialect is among the losses. The same request gives the same bytes,
        and a longer history begins with those of the shorter one, for upstreams cache prefixes. Raises Unsupported for
        what cannot go at all.
        """
        ...
