"""Streams on their way from a server of Anthropic Messages to a client of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from app.conversation.capabilities import RenderContext
from app.conversation.response import Usage
from app.dialects.anthropic_messages import StreamPassthrough, pass_response
from app.dialects.anthropic_messages.usage import find_usage
from app.errors import Failure, UpstreamMalformed, UpstreamRefused
from tests.dialects.anthropic_messages.passing import VENDOR

CONTEXT = RenderContext(model="asked-for", id="abc", created=1)


def passing() -> StreamPassthrough:
    return StreamPassthrough(CONTEXT, VENDOR)


def test_a_stream_passes_with_only_its_model_renamed(read_wire: Callable[[str], bytes]) -> None:
    stream = read_wire("anthropic_messages/streams/thinking-text-and-call.sse")
    through = passing()

    out = through.feed(stream) + through.close()

    assert out == stream.replace(b'"claude-sonnet-4-5"', b'"asked-for"')
    assert through.finished
    assert through.usage == Usage(fresh=12, cache_read=30, output=44, reasoning=9)


def test_an_unfinished_event_is_held_back_so_that_nothing_splits_it(read_wire: Callable[[str], bytes]) -> None:
    stream = read_wire("anthropic_messages/streams/text.sse")
    through = passing()

    out = b"".join(
        through.feed(stream[index : index + 7]) + (through.ping() if index % 70 == 0 else b"")
        for index in range(0, len(stream), 7)
    )

    for event in out.split(b"\n\n"):
        assert event == b"" or event.startswith((b"event: ", b": "))
        assert event.count(b"data: ") <= 1


def test_a_whole_answer_at_which_agents_would_stop_is_set_right() -> None:
    call = {"type": "tool_use", "name": "f", "input": '{"x":1}'}
    body = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [call],
            "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}}  # fmt: skip

    passed, _ = pass_response(json.dumps(body).encode(), RenderContext(model="m", id="i", created=1), VENDOR)
    repaired = json.loads(passed)

    assert repaired["stop_reason"] == "tool_use"
    assert repaired["content"] == [{"type": "tool_use", "id": "toolu_msg_1_0", "name": "f", "input": {"x": 1}}]


def test_a_cut_stream_ends_with_an_error_event(read_wire: Callable[[str], bytes]) -> None:
    stream = read_wire("anthropic_messages/streams/text.sse")
    through = passing()

    through.feed(stream[: len(stream) // 2])
    end = through.close()

    assert end.rpartition(b"event: error\ndata: ")[2].startswith(b'{"type":"error","error":{"type":"api_error"')
    assert not through.finished
    assert through.close() == b""


def test_the_upstreams_own_error_is_the_end(read_wire: Callable[[str], bytes]) -> None:
    stream = read_wire("anthropic_messages/streams/overloaded-in-the-middle.sse")
    through = passing()

    out = through.feed(stream) + through.close()

    assert out.count(b"event: error") == 1
    assert not through.finished


def test_a_rewritten_stream_fails_once_and_is_not_finished(read_wire: Callable[[str], bytes]) -> None:
    stream = read_wire("anthropic_messages/streams/text.sse")
    broken = stream.replace(b'"output_tokens":1,', b"", 1).replace(
        b'"stop_reason":"end_turn"', b'"stop_reason":"error"'
    )
    through = passing()

    out = through.feed(broken) + through.close()

    assert out.count(b"event: error") == 1
    assert b"message_stop" not in out
    assert through.failed is not None
    assert not through.finished


@pytest.mark.parametrize("before", [b"", b'event: ping\ndata: {"type":"ping"}\n\n', b": welcome\n\n"])
def test_an_error_before_the_first_event_can_still_be_a_status(before: bytes) -> None:
    through = passing()

    assert through.feed(before) == b""
    with pytest.raises(UpstreamRefused) as caught:
        through.feed(
            b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
        )

    assert caught.value.failure.kind == "overloaded"


def test_an_end_before_the_first_event_can_still_be_a_status() -> None:
    through = passing()
    through.feed(b": welcome\n\n")

    with pytest.raises(UpstreamRefused):
        through.close()


def test_what_came_before_the_first_event_is_not_lost() -> None:
    through = passing()
    start = (
        b'event: message_start\ndata: {"type":"message_start","message":'
        b'{"model":"m","content":[],"usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
    )

    out = through.feed(b": welcome\n\n") + through.feed(start)

    assert out == b": welcome\n\n" + start.replace(b'"m"', b'"asked-for"')


def test_a_ping_before_the_first_event_is_left_out() -> None:
    ping = b'event: ping\ndata: {"type":"ping"}\n\n'
    start = (
        b'event: message_start\ndata: {"type":"message_start","message":'
        b'{"model":"m","content":[],"usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
    )

    out = passing().feed(ping + start + ping)

    assert out == start.replace(b'"m"', b'"asked-for"') + ping


def test_a_whole_error_of_status_200_is_a_failure_and_a_page_of_html_no_message() -> None:
    with pytest.raises(UpstreamRefused, match="Over"):
        pass_response(
            b'{"type":"error","error":{"type":"overloaded_error","message":"Over"}}',
            RenderContext(model="m", id="i", created=1),
            VENDOR,
        )
    with pytest.raises(UpstreamMalformed, match="Bad gateway"):
        pass_response(b"<html><title>Bad gateway</title></html>", RenderContext(model="m", id="i", created=1), VENDOR)


def test_a_failure_drops_the_half_event_before_it() -> None:
    through = passing()
    through.feed(b"event: content_block_delta\ndata: {")

    out = through.fail(Failure(kind="timeout", message="silent"))

    assert out.startswith(b"event: error\n")
    assert b"timeout_error" in out
    assert through.fail(Failure(kind="timeout", message="again")) == b""


def test_nothing_is_added_to_a_complete_stream(read_wire: Callable[[str], bytes]) -> None:
    through = passing()
    through.feed(read_wire("anthropic_messages/streams/text.sse"))

    assert through.close() == b""
    assert through.ping() == b""
    assert through.fail(Failure(kind="internal", message="late")) == b""


@pytest.mark.parametrize(
    "mangle",
    [
        lambda stream: stream.replace(b"\n", b"\r\n"),
        lambda stream: b"".join(line + b"\n" for line in stream.split(b"\n")[:-1] if not line.startswith(b"event:")),
        lambda stream: stream.rstrip(b"\n"),
    ],
    ids=["crlf", "no event lines", "no last blank line"],
)
def test_framing_that_sdks_would_not_read_is_repaired(mangle: Any, read_wire: Callable[[str], bytes]) -> None:
    stream = read_wire("anthropic_messages/streams/text.sse")
    through = passing()

    out = through.feed(mangle(stream)) + through.close()

    assert out == stream.replace(b'"claude-sonnet-4-5"', b'"asked-for"')
    assert through.finished


def test_words_of_the_protocol_inside_a_text_end_nothing() -> None:
    through = passing()
    data = json.dumps(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "event: message_stop"}}
    )

    through.feed(f"event: content_block_delta\ndata: {data}\n\n".encode())

    assert not through.finished


def test_the_usage_of_a_whole_answer_is_found(read_wire: Callable[[str], bytes]) -> None:
    assert find_usage(read_wire("anthropic_messages/responses/text.json")) == Usage(fresh=12, cache_read=30, output=20)
    assert find_usage(b"<html>") is None
