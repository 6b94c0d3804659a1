"""Characters of which one delta has the first half of a surrogate pair, and the next one the second."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.field.pairs import CHAT_HEAD, CLIENTS, body_of, delta, tell_stream
from tests.field.test_messages_streams import END, START
from tests.field.test_responses_streams import CREATED, HEAD
from tests.gateway.conftest import Client, events_of
from tests.support.fake_upstream import FakeUpstream, Reply, sse

HALVES = ("\ud83d", "\ude42")
WHOLE = "🙂"
HALF = b'"x": "\\ud83d"'  # in a field that nobody knows


def streamed(*events: dict[str, Any]) -> Reply:
    """Events with half characters as escapes."""
    return sse(
        *(
            (f"event: {event['type']}\n" if "type" in event else "").encode()
            + b"data: %b\n\n" % json.dumps(event).encode()
            for event in events
        )
    )


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
        {"type": "response.completed", "response": {**HEAD, "status": "completed", "output": [done], "usage": None}},
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


@pytest.mark.parametrize(("dialect", "kind"), PAIRS)
def test_half_a_character_in_any_object_takes_no_text(
    every: Client, upstream: FakeUpstream, dialect: str, kind: str
) -> None:
    pieces = TEXT[kind].pieces
    for number, piece in enumerate(pieces):
        assert isinstance(piece, bytes)
        for place in range(piece.count(b"{")):
            parts = piece.split(b"{")
            parts[place + 1] = HALF + (b"" if parts[place + 1].startswith(b"}") else b", ") + parts[place + 1]
            spoiled = b"{".join(parts)
            reply = sse(*pieces[:number], spoiled, *pieces[number + 1 :])
            assert joined(tell_stream(dialect, hear(every, upstream, dialect, kind, reply)).text) == WHOLE, spoiled
