"""The contract of a dialect: what others may call, and what it may rely on.

A dialect is a package that re-exports these names; `mypy` compares it with the protocols below, and the laws
(tests/laws) prove what types cannot express. Everything here is pure: no I/O, no clock, no random numbers. Functions
never change their arguments, and the same input gives the same output. JSON bytes are UTF-8, all counts are tokens, all
times unix seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.events import Event
from app.conversation.literals import Snapshots
from app.conversation.losses import Loss
from app.conversation.request import Request
from app.conversation.response import Response, Usage
from app.conversation.traits import DialectTraits
from app.dialects.runs import Run
from app.errors import Failure


class RenderedRequest(msgspec.Struct, frozen=True):
    """A request as sent upstream: the JSON object as bytes, the headers that this body requires (versions, betas;
    lower-case names, no credential), and the losses, to which no policy has been applied yet."""

    body: bytes
    headers: dict[str, str] = {}
    losses: tuple[Loss, ...] = ()


class StreamParser(Protocol):
    """The upstream side of one stream: SSE payloads in, events out. One object per reply.

    Its events keep the lifecycle of `app.conversation.events`: `Started` first (it may be missing in a stream that
    fails at once), then blocks, with `index` counting them in the order of opening. Each block opens once and closes
    once, with its deltas in between; blocks may overlap. Exactly one `Finished` or `Failed` ends the stream, including
    what `close` returns. `UsageSeen` holds totals and may come before or after `Finished`.
    """

    def feed(self, data: Sequence[bytes]) -> list[Event]:
        """The events of the `data` payloads of some SSE events, in order: possibly none, and none after the end.

        Called once per socket read, always with whole payloads. Raises nothing: an unreadable payload or an error that
        the upstream reports gives `Failed`; events of unknown types are skipped.
        """
        ...

    @property
    def steady(self) -> bool:
        """Whether the last payload gave only its `BlockDelta`, and a payload that differs only in that text would give
        the same event with its own text."""
        ...

    @property
    def growing(self) -> list[bytes] | None:
        """The literals of the block that the last delta added to, if the parser keeps them. A caller that reads text
        without the parser appends it here."""
        ...

    @property
    def snapshots(self) -> Snapshots | None:
        """What compares the deltas of the open text, if the first text of a run has to be compared too."""
        ...

    @property
    def ending(self) -> bool:
        """Whether the upstream has named the end. More may follow nevertheless, so the answer is complete only when the
        input ends, or an end mark comes."""
        ...

    def close(self) -> list[Event]:
        """The remaining events at the end of input. Called once, after the last `feed`.

        If the stream has ended, gives only counts that were held back; otherwise `Failed`, because a stream without its
        terminal event is cut, never complete.
        """
        ...


class StreamRenderer(Protocol):
    """The client side of one stream: events in, the bytes of whole SSE events out. One object per reply.

    Relies on the lifecycle that StreamParser promises. Blocks may overlap; a renderer whose wire allows one open block
    at a time puts them in order. Blocks that the dialect cannot express are left out.
    """

    def feed(self, events: Sequence[Event]) -> bytes:
        """Whole SSE events, joined; empty if these events give the client nothing yet.

        Called as soon as events are available, and the result is sent at once. `Failed` gives the dialect's error
        event; later events give nothing. Raises nothing.
        """
        ...

    def feed_run(self, run: Run) -> bytes:
        """The same as `feed` for the deltas of a run."""
        ...

    def close(self) -> bytes:
        """The end of the stream, including whatever was held back in case counts still arrived.

        Called once, at the end of input, even after `Failed` (then it returns nothing). If neither `Finished` nor
        `Failed` was fed, the answer was cut and the client gets an error event.
        """
        ...

    def ping(self) -> bytes:
        """A keep-alive: an event or a comment that this dialect's clients ignore. May be requested at any time between
        two calls of `feed`, even before the first."""
        ...


class StreamPassthrough(Protocol):
    """A stream with the same dialect on both sides: bytes pass, and only what clients would fail on is repaired.

    Correct bytes pass unchanged except for the model's name. Holds back no more than the tail of an unfinished SSE
    event.
    """

    @property
    def usage(self) -> Usage | None:
        """The counts passed so far, in tokens; None if there were none."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the terminal event has arrived."""
        ...

    @property
    def failed(self) -> Failure | None:
        """The failure with which the stream has ended, if it has."""
        ...

    def run(self, part: bytes) -> tuple[bytes, bytes]:
        """Splits one socket read into a leading run and the rest. The run consists of deltas like the preceding event;
        it is returned as the client's bytes, followed by the rest, which must be fed. Without such a run: nothing, and
        `part`.

        A run contains only more of the model's text, in events like those already given out.
        """
        ...

    def feed(self, part: bytes) -> bytes:
        """The client's bytes for one socket read, which may be cut anywhere.

        Raises UpstreamRefused for a failure before the client was given anything, when a status or another attempt is
        still possible. A later failure becomes the dialect's error event.
        """
        ...

    def close(self) -> bytes:
        """The rest at the end of input, called once: the dialect's error event if the stream was incomplete. Raises as
        `feed` does."""
        ...

    def fail(self, failure: Failure) -> bytes:
        """The error event for a stream whose connection broke or was closed; nothing may be fed afterwards.

        A complete answer stays complete: after the terminal event this gives the normal end of the stream, if any of it
        is left. Empty if the stream has failed already.
        """
        ...

    def ping(self) -> bytes:
        """As StreamRenderer.ping; never inside a partly sent event."""
        ...


class ClientDialect(Protocol):
    """A dialect that clients speak. Whatever they send is hostile: each function reads bodies of any size and shape in
    linear time, and answers or refuses with one of our errors."""

    @property
    def NAME(self) -> str:  # noqa: N802
        """The dialect's name, as settings and logs spell it: `vendor_api`."""
        ...

    @property
    def TRAITS(self) -> DialectTraits:  # noqa: N802
        """What the rest of the program must know of the dialect besides its code."""
        ...

    def parse_request(self, body: bytes, headers: Mapping[str, str]) -> Request:
        """A client's request. `headers` have lower-case names.

        Fields and content without a place in the neutral request are kept as extensions or opaque blocks, each with the
        severity of its loss. Called once per translated request, never for one that passes. Raises InvalidRequest,
        which names the field and what it must be.
        """
        ...

    def parse_response(self, body: bytes) -> Response:
        """An upstream's whole answer: equal to the fold of the same answer as a stream.

        Raises UpstreamRefused for an error that came with status 200, UpstreamMalformed for anything that is no answer,
        UpstreamCut for an incomplete one.
        """
        ...

    def render_response(self, response: Response, context: RenderContext) -> bytes:
        """A whole answer for a client, as a JSON object, with the model name that it asked for.

        `context` provides the id and the time. Raises UpstreamCut for a response without an end.
        """
        ...

    def parse_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """The failure that an upstream's error means, whatever the shape of its body. `status` is its HTTP status;
        `headers` have lower-case names. Raises nothing."""
        ...

    def render_error(self, failure: Failure, request_id: str) -> bytes:
        """The body of an error for a client, as a JSON object. `failure` no longer contains secrets."""
        ...

    def error_status(self, failure: Failure) -> int:
        """The HTTP status for such a failure in this dialect; client SDKs choose the exception, and whether to retry,
        by it."""
        ...

    def pass_request(self, body: bytes, capabilities: Capabilities) -> bytes | None:
        """The client's bytes with the upstream's model name, if an upstream of this dialect accepts them; None if any
        part is not accepted and the request has to be translated.

        Inspects the rest without changing it. On the path of every request between two sides of one dialect, so it must
        be cheap and decode only what decides. A request passes only if the adaptation would not change it. Raises
        InvalidRequest for anything but a JSON object.
        """
        ...

    def pass_response(
        self, body: bytes, context: RenderContext, capabilities: Capabilities
    ) -> tuple[bytes, Usage | None]:
        """A whole answer that passes, and its counts if it has any: with the client's model name, and with what clients
        would fail on repaired. A correct answer passes byte by byte. Raises as `parse_response` does."""
        ...

    def StreamParser(self) -> StreamParser:  # noqa: N802
        """A parser for one stream of an upstream."""
        ...

    def StreamRenderer(self, context: RenderContext) -> StreamRenderer:  # noqa: N802
        """A renderer of one stream for the client of `context`."""
        ...

    def StreamPassthrough(self, context: RenderContext, capabilities: Capabilities) -> StreamPassthrough:  # noqa: N802
        """Passes one stream to the client of `context`. `capabilities` says what the upstream may send that has to be
        read, such as calls or thoughts inside a text."""
        ...


class Dialect(ClientDialect, Protocol):
    """A dialect that upstreams speak too, so clients of every other dialect can reach them."""

    def render_request(self, request: Request, capabilities: Capabilities) -> RenderedRequest:
        """The body for an upstream.

        `request` has been adapted to `capabilities`: calls are paired with results, names and ids are legal, settings
        are within limits. Whatever has no form in this dialect is among the losses. The same request gives the same
        bytes, and a longer history starts with the bytes of the shorter one, because upstreams cache prefixes. Raises
        Unsupported for what cannot be sent.
        """
        ...

    def prepare_passing(self, capabilities: Capabilities) -> Callable[[bytes], bytes | None]:
        """`pass_request` for one upstream, for a caller that will pass many requests to it: the same answers, sooner
        where a request is plain."""
        ...

    def pass_clean(self, body: bytes, model: str) -> tuple[bytes, Usage | None] | None:
        """What `pass_response` gives for an answer that needs no repair, with the client's `model`; None for any other.
        `body` is UTF-8."""
        ...
