"""Characters of which one delta has the first half of a surrogate pair, and the next one the second."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.field.asking import CLIENTS, body_of, both_modes
from tests.field.pairs import CHAT_HEAD, ask, chat_reply, delta, tell_stream
from tests.field.test_messages_streams import END, START
from tests.field.test_responses_streams import CREATED, HEAD, completed
from tests.gateway.conftest import Client, events_of
from tests.support.answers import named, unnamed
from tests.support.fake_upstream import FakeUpstream, Reply, sse

HALVES = ("\ud83d", "\ude42")
WHOLE = "🙂"


def streamed(*events: dict[str, Any]) -> Reply:
    """Events with half characters as escapes."""
    return sse(*(piece for event in events for piece in (named if "type" in event else unnamed)(event)))


def of_chat(*said: dict[str, Any], finish: str) -> Reply:
    return streamed(*(CHAT_HEAD | delta(part) for part in said), CHAT_HEAD | delta({}, finish))


def block(kind: dict[str, Any], *deltas: dict[str, Any]) -> Reply:
    place = {"index": 0}
    return streamed(
        START,
        {"type": "content_block_start", **place, "content_block": kind},
        *({"type": "content_block_delta", **place, "delta": each} for each in deltas),
        {"type": "content_block_stop", **place},
        *END,
    )


def item(whole: dict[str, Any], kind: str, empty: dict[str, Any], *said: str) -> Reply:
    place = {"item_id": "i_1", "output_index": 0, **({"content_index": 0} if kind == "output_text" else {})}
    done = whole | {"id": "i_1", "status": "completed"}
    events = [
        CREATED,
        {"type": "response.output_item.added", "output_index": 0, "item": done | {"status": "in_progress", **empty}},
        *({"type": f"response.{kind}.delta", **place, "delta": part} for part in said),
        {"type": "response.output_item.done", "output_index": 0, "item": done},
        completed(done),
    ]  # fmt: skip
    return streamed(*({**event, "sequence_number": number} for number, event in enumerate(events)))


NAMED: dict[str, Any] = {"id": "c", "type": "function", "function": {"name": "f"}}
ARGUMENTS = (f'{{"x":"a{HALVES[0]}', f'{HALVES[1]}"}}')
TEXT = {
    "chat": of_chat(*({"content": half} for half in HALVES), finish="stop"),
    "messages": block({"type": "text", "text": ""}, *({"type": "text_delta", "text": half} for half in HALVES)),
    "responses": item(
        {"type": "message", "role": "assistant",
         "content": [{"type": "output_text", "text": WHOLE, "annotations": []}]},
        "output_text", {"content": []}, *HALVES,
    ),
}  # fmt: skip
CALL = {
    "chat": of_chat(
        *({"tool_calls": [{"index": 0, **more, "function": {"arguments": piece, **more.get("function", {})}}]}
          for piece, more in zip(("", *ARGUMENTS), (NAMED, {}, {}), strict=True)),
        finish="tool_calls",
    ),
    "messages": block(
        {"type": "tool_use", "id": "c", "name": "f", "input": {}},
        *({"type": "input_json_delta", "partial_json": piece} for piece in ARGUMENTS),
    ),
    "responses": item(
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": f'{{"x":"a{WHOLE}"}}'},
        "function_call_arguments", {"arguments": ""}, *ARGUMENTS,
    ),
}  # fmt: skip

PAIRS = [(dialect, kind) for dialect in CLIENTS for kind in TEXT]


def hear(every: Client, upstream: FakeUpstream, dialect: str, kind: str, reply: Reply) -> list[Any]:
    upstream.script(reply)
    path, body = body_of(dialect)
    response = every.ask(path, body | {"model": f"{kind}/m", "stream": True})
    return [event for event in events_of(response) if event != "[DONE]"]


def joined(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")


@pytest.mark.parametrize(("dialect", "kind"), PAIRS)
def test_a_text_has_the_whole_character(every: Client, upstream: FakeUpstream, dialect: str, kind: str) -> None:
    events = hear(every, upstream, dialect, kind, TEXT[kind])

    assert joined(tell_stream(dialect, events).text) == WHOLE


@pytest.mark.parametrize(("dialect", "kind"), PAIRS)
def test_arguments_have_the_whole_character_and_nothing_else(
    every: Client, upstream: FakeUpstream, dialect: str, kind: str
) -> None:
    events = hear(every, upstream, dialect, kind, CALL[kind])

    ((name, arguments),) = tell_stream(dialect, events).calls
    assert (name, joined(arguments["x"])) == ("f", f"a{WHOLE}")


@pytest.mark.parametrize(("dialect", "kind"), [pair for pair in PAIRS if pair != ("A", "messages")])
@pytest.mark.parametrize("replies", [TEXT, CALL], ids=["text", "call"])
def test_no_translated_event_has_half_a_character(
    every: Client, upstream: FakeUpstream, dialect: str, kind: str, replies: dict[str, Reply]
) -> None:
    """Parsers of Rust, such as that of Codex, throw away an event with half a pair."""
    for event in hear(every, upstream, dialect, kind, replies[kind]):
        json.dumps(event, ensure_ascii=False).encode()


ANSWERS: dict[str, dict[str, Any]] = {
    "chat": chat_reply({"content": "hi", "reasoning_content": "t"}),
    "messages": {
        "id": "m", "type": "message", "role": "assistant", "model": "m",
        "content": [
            {"type": "thinking", "thinking": "t", "signature": "s"},
            {"type": "text", "text": "hi", "citations": [{"type": "page_location", "cited_text": "z"}]},
        ],
        "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 2},
    },
    "responses": {
        **HEAD, "status": "completed",
        "output": [
            {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "t"}]},
            {"type": "message", "id": "i", "role": "assistant", "status": "completed",
             "content": [{"type": "output_text", "text": "hi", "annotations": []}]},
        ],
        "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
    },
}  # fmt: skip


def spoil_each_object(data: bytes) -> Iterator[bytes]:
    """JSON, or an event with it, with half a character in a field that nobody knows, of one object after the other."""
    for found in re.finditer(rb"(?<!\")\{(?=(\})?)", data):
        field = b'"x": "\\ud83d"' + (b"" if found[1] else b", ")
        yield data[: found.end()] + field + data[found.end() :]


@pytest.mark.parametrize(("dialect", "kind"), PAIRS)
def test_half_a_character_in_any_object_of_a_stream_takes_nothing(
    every: Client, upstream: FakeUpstream, dialect: str, kind: str
) -> None:
    pieces = TEXT[kind].pieces
    for number, piece in enumerate(pieces):
        assert isinstance(piece, bytes)
        for spoiled in spoil_each_object(piece):
            reply = sse(*pieces[:number], spoiled, *pieces[number + 1 :])
            assert joined(tell_stream(dialect, hear(every, upstream, dialect, kind, reply)).text) == WHOLE, spoiled


@both_modes
@pytest.mark.parametrize(("dialect", "kind"), PAIRS)
def test_half_a_character_in_any_object_of_an_answer_takes_nothing(
    every: Client, upstream: FakeUpstream, dialect: str, kind: str, *, stream: bool
) -> None:
    for spoiled in spoil_each_object(json.dumps(ANSWERS[kind]).encode()):
        upstream.script(Reply((spoiled,), 200, {"content-type": "application/json"}, framing="length"))
        heard = ask(every, dialect, f"{kind}/m", stream=stream)
        assert (heard.text, heard.thought) == ("hi", "t"), spoiled
