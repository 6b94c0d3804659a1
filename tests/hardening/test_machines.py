"""State machines that go on finding: whatever order bytes, cuts, pings, failures and ends come in.

HARDENING_CASES says how many runs are made in all: a few by default, many in `make hardening`.
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.conversation.capabilities import Capabilities
from app.errors import DragomanError, Failure
from app.gateway.replies.translation import StreamTranslation
from app.server.connections.request_parser import Site, parse_head
from app.sse import SseDecoder
from app.transport.reply import ReplyDecoder
from tests.hardening.test_fuzz import ALL, ODD_BYTES, PLACES, seeds, spoil_seed
from tests.hardening.well_formed import check_stream
from tests.laws.cases import CONTEXT, DIALECTS

CASES = int(os.environ.get("HARDENING_CASES", "600"))
STREAMS = {dialect.NAME: seeds(dialect, "streams") for dialect in DIALECTS}
EVENTS = {
    name: [event + b"\n\n" for seed in found for event in seed.split(b"\n\n") if event]
    for name, found in STREAMS.items()
}
CUT = Failure(kind="timeout", message="too late", origin="gateway")
SIZES = st.sampled_from([1, 2, 3, 7, 16, 61, 1500, 65536])


class StreamMachine(RuleBasedStateMachine):
    """A stream of any upstream on its way to any client: events of recordings, in any order, whole or spoiled or cut,
    with pings between, until it ends or fails. Nothing but our own errors is raised, nothing comes after an end, and
    what is translated keeps the client's order of events."""

    machine: Any
    pending: bytes
    over: bool

    @initialize(speaks=st.sampled_from(DIALECTS), client=st.sampled_from(DIALECTS))
    def begin(self, speaks: ModuleType, client: ModuleType) -> None:
        self.speaks = speaks.NAME
        self.machine = (
            speaks.StreamPassthrough(CONTEXT, Capabilities(dialect=speaks.NAME))
            if speaks is client
            else StreamTranslation(speaks.StreamParser(), client, (), CONTEXT)
        )
        self.pending, self.over, self.ended = b"", False, False
        self.client, self.said = client.NAME, list[bytes]()

    def act(self, work: Any, *arguments: Any) -> None:
        try:
            out = work(*arguments)
        except DragomanError:
            self.over = True
            return
        assert isinstance(out, bytes)
        self.said.append(out)
        assert not (self.ended and out), out[:200]
        # What has finished already makes no word of a failure, and still ends in its own way.
        self.ended = self.ended or (work == self.machine.fail and bool(out))

    @precondition(lambda self: not self.over)
    @rule(data=st.data(), places=PLACES, size=SIZES)
    def event(self, data: st.DataObject, places: list[tuple[int, Any]], size: int) -> None:
        event = data.draw(st.sampled_from(EVENTS[self.speaks]))
        stream = spoil_seed(event, places, [])
        for start in range(0, len(stream), size):
            if not self.over:
                self.act(self.machine.feed, stream[start : start + size])

    @precondition(lambda self: not self.over)
    @rule(data=st.sampled_from(ODD_BYTES) | st.binary(max_size=40))
    def garbage(self, data: bytes) -> None:
        self.act(self.machine.feed, data)

    @precondition(lambda self: not self.over)
    @rule(data=st.data())
    def stream_of_another(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(STREAMS)))
        self.act(self.machine.feed, data.draw(st.sampled_from(STREAMS[name]))[:4000])

    @rule()
    def ping(self) -> None:
        assert self.over or isinstance(self.machine.ping(), bytes)

    @precondition(lambda self: not self.over)
    @rule()
    def fail(self) -> None:
        self.act(self.machine.fail, CUT)

    @precondition(lambda self: not self.over)
    @rule()
    def close(self) -> None:
        self.act(self.machine.close)
        self.ended = self.over = True

    def teardown(self) -> None:
        if isinstance(getattr(self, "machine", None), StreamTranslation):
            check_stream(self.client, b"".join(self.said))


class ReplyMachine(RuleBasedStateMachine):
    """The bytes of a reply: a head, chunks, lengths, trailers, in pieces cut anywhere, true or false."""

    @initialize(method=st.sampled_from(["POST", "GET", "HEAD"]))
    def begin(self, method: str) -> None:
        self.decoder = ReplyDecoder(method)
        self.over = False

    def feed(self, data: bytes, size: int = 65536) -> None:
        for start in range(0, len(data), size):
            if self.over:
                return
            try:
                body = self.decoder.feed(data[start : start + size])
                assert isinstance(body, bytes)
                assert not body or self.decoder.has_head, "who waits for the head would wait for ever"
                while self.decoder.unpacking is not None:
                    self.decoder.more()
            except DragomanError:
                self.over = True

    @rule(
        status=st.sampled_from(
            [b"200 OK", b"100 Continue", b"103 Hints", b"204 None", b"304 Same", b"429 No", b"999 X", b"0"]
        ),
        fields=st.lists(
            st.sampled_from(
                [
                    b"content-length: 5",
                    b"content-length: 0",
                    b"content-length: -1",
                    b"transfer-encoding: chunked",
                    b"transfer-encoding: gzip",
                    b"content-encoding: gzip",
                    b"content-encoding: br, zstd",
                    b"connection: close",
                    b"content-type: text/event-stream",
                    b"connection: upgrade",
                    b"upgrade: x",
                    b"set-cookie: a",
                    b"no colon",
                    b": x",
                ]
            ),
            max_size=4,
        ),
        size=SIZES,
    )
    def head(self, status: bytes, fields: list[bytes], size: int) -> None:
        self.feed(b"\r\n".join([b"HTTP/1.1 " + status, *fields, b"", b""]), size)

    @rule(seed=st.sampled_from(ALL), size=SIZES, false=st.integers(-2, 2))
    def chunk(self, seed: bytes, size: int, false: int) -> None:
        piece = seed[:300]
        self.feed(b"%x\r\n%b\r\n" % (max(0, len(piece) + false), piece), size)

    @rule(
        data=st.sampled_from([b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"\r\n", b"hello", *ODD_BYTES])
        | st.binary(max_size=30)
    )
    def odd(self, data: bytes) -> None:
        self.feed(data)

    @rule()
    def end(self) -> None:
        if not self.over:
            try:
                self.decoder.end()
            except DragomanError:
                self.over = True

    @invariant()
    def keeps_no_connection_that_is_not_clean(self) -> None:
        decoder = getattr(self, "decoder", None)
        assert decoder is None or not decoder.has_head or 100 <= decoder.status <= 999


class EventsMachine(RuleBasedStateMachine):
    """One decoder gets a stream as a whole, the other in pieces: both must tell the same events."""

    @initialize()
    def begin(self) -> None:
        self.pieced, self.came, self.told = SseDecoder(), b"", list[bytes]()

    @rule(
        data=st.sampled_from(
            [
                b"data: a\n\n",
                b"data:b\r\n\r\n",
                b"data: c\r\r",
                b": x\n\n",
                b"event: e\ndata: d\n\n",
                b"data",
                b"\r",
                b"\n",
                b"\r\n",
                b"\xef\xbb\xbf",
                b"data: {}\ndata: 1\n\n",
                b"id: 1\nretry: 2\n\n",
            ]
        )
        | st.binary(max_size=20),
        size=SIZES,
    )
    def feed(self, data: bytes, size: int) -> None:
        self.came += data
        for start in range(0, len(data), size):
            self.told += self.pieced.feed(data[start : start + size])

    def teardown(self) -> None:
        if hasattr(self, "pieced"):
            whole = SseDecoder()
            together = whole.feed(self.came)
            assert [*together, *whole.close()] == [*self.told, *self.pieced.close()]


NAMES = [
    b"Host",
    b"Content-Length",
    b"Transfer-Encoding",
    b"X-Api-Key",
    b"Connection",
    b"Expect",
    b"A_B",
    b"A B",
    b"",
    b"A",
]
VALUES = [
    b"localhost",
    b"5",
    b"chunked",
    b"close",
    b"",
    b"\x00",
    b"\r",
    b"\n x",
    b"\xff",
    b"100-continue",
    b"5, 5",
    b" 5 ",
]


class HeadMachine(RuleBasedStateMachine):
    """A request's head line by line: it is read in one way only, or left to the other parser."""

    @initialize(
        line=st.sampled_from(
            [
                b"POST /v1/messages HTTP/1.1",
                b"GET / HTTP/1.1",
                b"GET  / HTTP/1.1",
                b"POST /\x00 HTTP/1.1",
                b"GET /%2e HTTP/1.1",
                b"GET http://x/ HTTP/1.1",
                b"PUT / HTTP/1.0",
                b"\xff / HTTP/1.1",
                b"",
            ]
        )
    )
    def begin(self, line: bytes) -> None:
        self.lines = [line]

    @rule(
        name=st.sampled_from(NAMES),
        value=st.sampled_from(VALUES) | st.binary(max_size=8),
        colon=st.sampled_from([b": ", b":", b" :"]),
    )
    def field(self, name: bytes, value: bytes, colon: bytes) -> None:
        self.lines.append(name + colon + value)

    def teardown(self) -> None:
        if not hasattr(self, "lines"):
            return
        head = b"\r\n".join([*self.lines, b"", b""])
        if (read := parse_head(head[: head.find(b"\r\n\r\n") + 4], Site({"wsgi.url_scheme": "http"}))) is not None:
            assert read.length >= 0
            assert "HTTP_TRANSFER_ENCODING" not in read.environ
            assert all("\n" not in str(value) and "\r" not in str(value) for value in read.environ.values())
            assert sum(line.lower().startswith(b"content-length") for line in self.lines) <= 1


@pytest.mark.parametrize("machine", [StreamMachine, ReplyMachine, EventsMachine, HeadMachine])
def test_no_order_of_things_breaks_a_machine(machine: type[RuleBasedStateMachine]) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=max(25, CASES // 40),
            stateful_step_count=20,
            deadline=None,
            database=None,
            derandomize=CASES < 10_000,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("client", DIALECTS, ids=lambda each: each.NAME)
@pytest.mark.parametrize("speaks", DIALECTS, ids=lambda each: each.NAME)
def test_what_follows_an_end_is_no_part_of_the_answer(speaks: ModuleType, client: ModuleType) -> None:
    for stream in STREAMS[speaks.NAME][:12]:
        machine = StreamTranslation(speaks.StreamParser(), client, (), CONTEXT)
        try:
            said = [machine.feed(stream)]
        except DragomanError:
            continue
        if machine.finished:
            said += [machine.feed(event) for event in [*EVENTS[speaks.NAME][:60], *stream.split(b"\n\n")]]
        check_stream(client.NAME, b"".join([*said, machine.close()]))
