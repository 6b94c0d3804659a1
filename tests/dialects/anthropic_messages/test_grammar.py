"""Specifies what becomes of a stream that passes and is out of order."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.conversation.capabilities import Capabilities, RenderContext
from app.dialects.anthropic_messages import StreamPassthrough
from app.sse import SseDecoder, encode_event

START = {"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
         "content": [], "usage": {"input_tokens": 5, "output_tokens": 1}}}  # fmt: skip
CALL = {"type": "tool_use", "id": "t", "name": "f", "input": {}}


def begin(index: int, block: Any = None) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block or {"type": "text", "text": ""}}


def say(index: int, text: str, kind: str = "text") -> dict[str, Any]:
    field = {"text": "text", "thinking": "thinking", "input_json": "partial_json"}[kind]
    return {"type": "content_block_delta", "index": index, "delta": {"type": f"{kind}_delta", field: text}}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def end(reason: str | None) -> list[dict[str, Any]]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [{"type": "message_delta", "delta": delta, "usage": {"output_tokens": 3}}, {"type": "message_stop"}]


DISORDERED: dict[str, tuple[list[dict[str, Any]], list[str], str]] = {
    "a block that is never closed": ([START, begin(0), say(0, "a"), *end("end_turn")], ["text a"], "end_turn"),
    "a block before the end of another": (
        [START, begin(0), say(0, "a"), begin(1, CALL), say(1, "{}", "input_json"), stop(1), *end("tool_use")],
        ["text a", "tool_use {}"], "tool_use",
    ),
    "two blocks at once": (
        [START, begin(0), begin(1, CALL), say(0, "a"), say(1, "{}", "input_json"), stop(0), stop(1), *end("tool_use")],
        ["text a", "tool_use {}"], "tool_use",
    ),
    "a number left out": (
        [START, begin(0), say(0, "a"), stop(0), begin(2), say(2, "b"), stop(2), *end("end_turn")],
        ["text a", "text b"], "end_turn",
    ),
    "thinking in a text": (
        [START, begin(0), say(0, "r", "thinking"), say(0, "a"), stop(0), *end("end_turn")],
        ["text ", "thinking r", "text a"], "end_turn",
    ),
    "no start": ([begin(0), say(0, "a"), stop(0), *end("end_turn")], ["text a"], "end_turn"),
    "two starts": ([START, START, begin(0), say(0, "a"), stop(0), *end("end_turn")], ["text a"], "end_turn"),
    "no reason": ([START, begin(0), say(0, "a"), stop(0), *end(None)], ["text a"], "end_turn"),
    "no reason anywhere": ([START, begin(0), say(0, "a"), stop(0), end(None)[1]], ["text a"], "end_turn"),
    "a reason in a second word": (
        [START, begin(0), say(0, "a"), stop(0), end(None)[0], *end("max_tokens")], ["text a"], "max_tokens",
    ),
    "calls that are no reason": (
        [START, begin(0, CALL), say(0, "{}", "input_json"), stop(0), *end("end_turn")], ["tool_use {}"], "tool_use",
    ),
    "a reason without calls": ([START, begin(0), say(0, "a"), stop(0), *end("tool_use")], ["text a"], "end_turn"),
    "arguments at the start": (
        [START, begin(0, CALL | {"input": {"x": 1}}), stop(0), *end("tool_use")], ['tool_use {"x":1}'], "tool_use",
    ),
}  # fmt: skip


@pytest.mark.parametrize("size", [1, 150, 100_000])
@pytest.mark.parametrize("case", DISORDERED)
def test_a_stream_that_is_out_of_order_is_put_into_it(case: str, size: int) -> None:
    events, said, reason = DISORDERED[case]
    stream = b"".join(
        encode_event(json.dumps(event, separators=(",", ":")).encode(), event["type"]) for event in events
    )
    through = StreamPassthrough(RenderContext(model="m", id="i", created=1), Capabilities(dialect="anthropic_messages"))

    out = b"".join(through.feed(stream[at : at + size]) for at in range(0, len(stream), size)) + through.close()

    assert blocks_of(out) == (said, reason)
    assert through.finished
    assert through.usage is not None


def blocks_of(stream: bytes) -> tuple[list[str], str]:
    """What the blocks of a stream say, and why it ended; asserts that each event has its place."""
    first, *events, last_delta, last = [json.loads(data) for data in SseDecoder().feed(stream)]
    assert [first["type"], last_delta["type"], last["type"]] == ["message_start", "message_delta", "message_stop"]
    blocks: list[str] = []
    is_open = False
    for event in events:
        is_start = event["type"] == "content_block_start"
        assert is_start != is_open
        assert event["index"] == len(blocks) - (not is_start)
        is_open = event["type"] != "content_block_stop"
        if is_start:
            blocks.append(event["content_block"]["type"] + " ")
        elif is_open:
            said = event["delta"]
            blocks[-1] += said.get("text") or said.get("thinking") or said.get("partial_json") or ""
    assert not is_open
    return blocks, last_delta["delta"]["stop_reason"]
