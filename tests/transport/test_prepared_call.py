"""Specifies prepared calls: what they ask comes back as it would from any other call."""

from __future__ import annotations

import pytest

from app.errors import UpstreamCut, UpstreamTimeout
from app.transport import Exchange, Limits, PreparedCall, Transport, WholeReply
from app.transport.call import encode_fields, locate
from tests.support.fake_upstream import CLOSE, CUT, STALL, Act, FakeUpstream, Reply, raw
from tests.transport.calls import USUAL, fetch, post

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def prepare(transport: Transport, url: str, limits: Limits = USUAL) -> PreparedCall:
    call = post(url, limits=limits)
    head = encode_fields("POST", locate(url), {"x-one": "100%d"})
    prepared = transport.prepare(type(call)(call.method, url, {}, b"", limits, None, head))
    assert prepared is not None
    return prepared


def ask(call: PreparedCall, *, again: bool = True) -> bytes:
    reply = call.ask(b"{}", lambda: again)
    if isinstance(reply, WholeReply):
        return reply.body
    try:
        reply.wait_head()
        return reply.read_body()
    finally:
        reply.close()


def test_a_reply_in_one_read_on_a_kept_connection_is_there_at_once(transport: Transport) -> None:
    with FakeUpstream(raw(OK)) as upstream:
        call = prepare(transport, upstream.url)
        first, second = call.ask(b"{}", lambda: True), None
        assert isinstance(first, Exchange)
        first.wait_head()
        first.read_body()

        second = call.ask(b'{"a":1}', lambda: True)

        assert second == WholeReply(200, {"content-length": "2"}, b"ok")
        assert [(seen.connection, seen.body) for seen in upstream.seen] == [(1, b"{}"), (1, b'{"a":1}')]
        assert upstream.seen[1].headers["x-one"] == "100%d"


@pytest.mark.parametrize(
    "reply",
    [raw(OK[:20], 0.05, OK[20:]), raw(OK[:-1], 0.05, OK[-1:]), Reply((b"o", 0.05, b"k"))],
    ids=["cut in the head", "cut in the body", "in chunks"],
)
def test_a_reply_in_several_reads_is_read_by_its_exchange(transport: Transport, reply: Reply) -> None:
    with FakeUpstream(raw(OK), reply, raw(OK)) as upstream:
        call = prepare(transport, upstream.url)

        assert [ask(call) for _ in range(3)] == [b"ok"] * 3
        assert [seen.connection for seen in upstream.seen] == [1, 1, 1]


@pytest.mark.parametrize("farewell", [CLOSE, CUT])
def test_a_connection_that_is_lost_meanwhile_is_replaced_if_that_is_allowed(
    transport: Transport, farewell: Act
) -> None:
    with FakeUpstream(raw(OK), raw(farewell), raw(OK), raw(farewell)) as upstream:
        call = prepare(transport, upstream.url)

        assert [ask(call), ask(call)] == [b"ok", b"ok"]
        with pytest.raises(UpstreamCut):
            ask(call, again=False)
        assert [seen.connection for seen in upstream.seen] == [1, 1, 2, 2]


def test_a_silent_upstream_ends_the_call_at_its_limit(transport: Transport) -> None:
    with FakeUpstream(raw(OK), raw(STALL)) as upstream:
        fetch(transport, upstream.url)

        with pytest.raises(UpstreamTimeout) as caught:
            ask(prepare(transport, upstream.url, Limits(first_byte=0.2)))

        assert caught.value.phase == "first_byte"
