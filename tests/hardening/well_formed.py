"""Whether a stream for a client keeps its dialect's order: each block opens once, is told of only while it is open, and
closes once, and nothing follows the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from app.sse import SseDecoder

Events = list[dict[str, Any]]


def check_stream(dialect: str, stream: bytes) -> None:
    decoder = SseDecoder()
    told = [data for data in [*decoder.feed(stream), *decoder.close()] if data != b"[DONE]"]
    _CHECKS[dialect]([json.loads(data) for data in told])


def _check_messages(events: Events) -> None:
    opened: set[int] = set()
    closed: set[int] = set()
    ended = False
    for event in events:
        kind, index = event["type"], event.get("index", -1)
        assert not ended or kind in ("ping", "error"), event
        if kind == "content_block_start":
            assert index == len(opened), event
            opened.add(index)
        elif kind == "content_block_delta":
            assert index in opened - closed, event
        elif kind == "content_block_stop":
            assert index in opened - closed, event
            closed.add(index)
        elif kind in ("message_stop", "error"):
            assert kind == "error" or opened == closed, event
            ended = True


def _check_responses(events: Events) -> None:
    items: dict[int, str] = {}
    done: set[int] = set()
    numbers = [event["sequence_number"] for event in events if "sequence_number" in event]
    assert numbers == sorted(set(numbers)), numbers
    for position, event in enumerate(events):
        kind, index = event["type"], event.get("output_index", -1)
        if kind == "response.output_item.added":
            assert index == len(items), event
            items[index] = event["item"].get("id")
        elif kind == "response.output_item.done":
            assert index in items.keys() - done, event
            done.add(index)
        elif index >= 0:
            assert index in items.keys() - done, event
        elif kind in ("response.completed", "response.incomplete"):
            assert items.keys() == done, event
            assert len(event["response"]["output"]) == len(done), event
            assert position == len(events) - 1, events[position:]


def _check_chat(events: Events) -> None:
    finished = False
    calls: set[int] = set()
    for event in events:
        for choice in event.get("choices", []):
            delta = choice.get("delta", {})
            assert not (finished and (delta.get("content") or delta.get("tool_calls"))), event
            for call in delta.get("tool_calls") or []:
                assert call["index"] in calls or (call["index"] == len(calls) and call["id"]), event
                calls.add(call["index"])
            finished = finished or choice.get("finish_reason") is not None


_CHECKS: dict[str, Callable[[Events], None]] = {
    "anthropic_messages": _check_messages,
    "openai_responses": _check_responses,
    "openai_chat": _check_chat,
}
