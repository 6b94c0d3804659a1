"""Streams of legacy completions: read from servers that complete text, written for clients."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.conversation.blocks import Reasoning, Text
from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.events import BlockClosed, BlockDelta, BlockOpened, Failed, Finished, Started, UsageSeen
from app.conversation.response import Usage
from app.conversation.streams.fold import fold
from app.dialects import openai_completions
from app.errors import UpstreamRefused

CAPABILITIES = Capabilities(dialect="openai_chat")
CONTEXT = RenderContext(model="client/m", id="1", created=1)


def chunk(text: str, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    return json.dumps({"id": "cmpl-1", "model": "m", "choices": [choice], **more}).encode()


COUNTED = b'{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}'
STREAM = b"".join(b"data: %b\n\n" % data for data in (chunk("one "), chunk("two", "length"), COUNTED, b"[DONE]"))


def test_a_stream_folds_to_what_was_said() -> None:
    parser = openai_completions.StreamParser()

    response = fold(parser.feed([chunk("one "), chunk("two", "length"), COUNTED, b"[DONE]"]))

    assert response.blocks == (Text("one two"),)
    assert response.finish_reason == "length"
    assert response.usage == Usage(fresh=3, output=2)


@pytest.mark.parametrize("data", [[], [chunk("one")]])
def test_a_stream_that_is_cut_has_failed(data: list[bytes]) -> None:
    parser = openai_completions.StreamParser()

    events = [*parser.feed(data), *parser.close()]

    assert isinstance(events[-1], Failed)


@pytest.mark.parametrize("data", [b"nonsense", b'{"error": {"message": "no"}}', b'{"error": "no"}'])
def test_what_is_no_chunk_is_a_failure_and_nothing_follows(data: bytes) -> None:
    parser = openai_completions.StreamParser()

    events = parser.feed([data, chunk("one", "stop")])

    assert [type(event) for event in events] == [Failed]
    assert parser.close() == []


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
def test_a_passing_stream_is_the_same_however_it_is_cut(size: int) -> None:
    stream = openai_completions.StreamPassthrough(CONTEXT, CAPABILITIES)

    parts = [stream.feed(STREAM[start : start + size]) for start in range(0, len(STREAM), size)]

    assert b"".join(parts) + stream.close() == STREAM.replace(b'"m"', b'"client/m"')
    assert stream.finished
    assert stream.usage == Usage(fresh=3, output=2)


@pytest.mark.parametrize("end", [b"", b'data: {"id": "cmpl-1", "choices": [{"te'])
def test_a_passing_stream_that_is_cut_ends_with_an_error(end: bytes) -> None:
    stream = openai_completions.StreamPassthrough(CONTEXT, CAPABILITIES)

    out = stream.feed(b"data: %b\n\n%b" % (chunk("one"), end)) + stream.close()

    assert b'"error"' in out
    assert b"[DONE]" not in out


def test_only_what_is_said_is_written() -> None:
    renderer = openai_completions.StreamRenderer(CONTEXT)
    thought = [BlockOpened(0, Reasoning("")), BlockDelta(0, b'"SECRET"'), BlockClosed(0)]
    spoken = [BlockOpened(1, Text("")), BlockDelta(1, b'"hi"'), BlockDelta(1, b'""'), BlockClosed(1)]

    out = renderer.feed([Started("", ""), *thought, *spoken, UsageSeen(Usage(output=2)), Finished("tool_calls")])
    out += renderer.close()

    chunks = [json.loads(line[6:]) for line in out.decode().splitlines() if line.startswith("data: {")]
    told = [(c["choices"][0]["text"], c["choices"][0]["finish_reason"]) for c in chunks]
    assert told == [("hi", None), ("", "stop")]
    assert chunks[0] | {"choices": 0} == {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": "client/m",
        "choices": 0,
    }
    assert out.endswith(b"data: [DONE]\n\n")


def test_an_answer_that_breaks_off_ends_with_an_error() -> None:
    renderer = openai_completions.StreamRenderer(CONTEXT)
    renderer.feed([Started("", ""), BlockOpened(0, Text("")), BlockDelta(0, b'"hi"')])

    out = renderer.close()

    assert b'"error"' in out
    assert b"[DONE]" not in out


def test_an_error_in_a_whole_reply_is_the_upstreams() -> None:
    with pytest.raises(UpstreamRefused):
        openai_completions.pass_response(b'{"error": {"message": "no"}}', CONTEXT, CAPABILITIES)
