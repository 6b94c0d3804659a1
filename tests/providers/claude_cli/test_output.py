"""What the Claude program says becomes the vendor's events, however it is cut; an error never becomes an answer."""

from __future__ import annotations

import json
import tracemalloc
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UpstreamMalformed
from app.providers.kinds.claude_cli.output import Output, Trouble
from app.sse import SseDecoder
from tests.support.claude_program import Piece, answer, began, call_block, ended, event, failed, text_block

ANSWER = answer("Grüezi, ", "Wält 🌍.")


def written(*pieces: Piece) -> bytes:
    """The bytes of lines as the program writes them."""
    return b"".join(
        piece if isinstance(piece, bytes) else json.dumps(piece, ensure_ascii=False).encode() + b"\n"
        for piece in pieces
        if isinstance(piece, bytes | dict)
    )


def events(stream: bytes) -> list[Any]:
    return [json.loads(payload) for payload in SseDecoder().feed(stream)]


def inner(*pieces: Piece) -> list[Any]:
    """The events inside the lines."""
    return [piece["event"] for piece in pieces if isinstance(piece, dict) and piece["type"] == "stream_event"]


def test_the_events_pass_and_all_else_is_read_over() -> None:
    output = Output()

    stream = output.feed(written(*ANSWER))

    assert events(stream) == inner(*ANSWER)
    assert stream.startswith(b"event: message_start\ndata: {")
    assert (output.ended, output.trouble) == (True, None)


@given(st.sets(st.integers(0, len(written(*ANSWER))), max_size=12))
def test_output_cut_anywhere_gives_the_same_events(cuts: set[int]) -> None:
    said = written(*ANSWER)
    places = [0, *sorted(cuts), len(said)]
    output = Output()

    stream = b"".join(output.feed(said[start:end]) for start, end in pairwise(places))

    assert stream == Output().feed(said)


def test_nothing_passes_after_the_end_of_the_answer() -> None:
    second = answer("said to somebody else")

    stream = Output().feed(written(*ANSWER, *second))

    assert events(stream) == inner(*ANSWER)


def test_all_calls_of_an_answer_pass() -> None:
    calls = [*call_block(0, "toolu_1", "f", {"x": 1}), *call_block(1, "toolu_2", "g", {"x": 2})]

    stream = Output().feed(written(*began(), *calls, *ended("tool_use")))

    assert events(stream) == inner(*began(), *calls, *ended("tool_use"))


def test_an_error_worded_as_an_answer_is_trouble() -> None:
    output = Output()

    stream = output.feed(written(*failed("API Error: 529 Overloaded.", 529, api_error_type="overloaded_error")))

    assert stream == b""
    assert output.ended
    assert output.trouble == Trouble("API Error: 529 Overloaded.", 529, "overloaded_error")


def test_an_answer_that_breaks_off_gets_no_good_ending() -> None:
    half = [*began(), event("content_block_start", index=0, content_block={"type": "text", "text": ""})]
    excuse, result, _ = failed("API Error: the connection was lost")
    closing = [event("content_block_stop", index=0), *ended()[:2]]
    output = Output()

    stream = output.feed(written(*half, excuse, *closing, result))

    assert events(stream) == inner(*half)
    assert output.trouble == Trouble("API Error: the connection was lost")


@pytest.mark.parametrize("reason", ["prompt_too_long", "blocking_limit"])
def test_a_prompt_that_the_program_itself_refuses_is_a_bad_request(reason: str) -> None:
    output = Output()

    output.feed(written(*failed("Prompt is too long", terminal_reason=reason)))

    assert output.trouble == Trouble("Prompt is too long", 400)


def test_a_result_without_words_is_told_by_its_errors() -> None:
    output = Output()

    output.feed(written({"type": "result", "is_error": True, "errors": ["No conversation", {"code": 1}]}))

    assert output.trouble == Trouble('No conversation; {"code": 1}')


def test_a_second_beginning_of_the_answer_is_malformed() -> None:
    with pytest.raises(UpstreamMalformed, match="again"):
        Output().feed(written(*began(), *began()))


def test_an_event_without_a_type_is_malformed() -> None:
    with pytest.raises(UpstreamMalformed, match="without a type"):
        Output().feed(written({"type": "stream_event", "event": {"index": 0}}))


def test_text_that_speaks_of_synthetic_models_is_no_error() -> None:
    said = [*began(), *text_block(0, 'The model "<synthetic>" is synthetic.'), *ended()]

    stream = Output().feed(written(*said))

    assert events(stream) == inner(*said)


def test_a_line_of_many_megabytes_is_read_in_linear_time_and_space() -> None:
    said = written(*began(), *text_block(0, "0123456789" * 1_000_000), *ended())
    output = Output()
    tracemalloc.start()

    size = sum(len(output.feed(said[start : start + 65536])) for start in range(0, len(said), 65536))

    _, maximum = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 10_000_000
    assert maximum < 8 * len(said)


def test_a_line_that_does_not_end_is_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.providers.kinds.claude_cli.output._MAX_LINE", 1000)
    output = Output()
    output.feed(b"x" * 999)

    with pytest.raises(UpstreamMalformed, match="too long"):
        output.feed(b"xx")
