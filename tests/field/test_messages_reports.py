"""Replies of Messages servers as reports tell of them, for clients of every dialect, as streams and whole.

Each case names where it was reported: the repository and the number of the issue or the pull request.
"""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

from typing import Any

import pytest

from tests.field.vectors import Vector, misread
from tests.gateway.conftest import Client
from tests.support.answers import added, block, closed, named
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, sse

USAGE = {"input_tokens": 3, "output_tokens": 2}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": USAGE,
}
START = {"type": "message_start", "message": MESSAGE}
STOP = {"type": "message_stop"}
PING = {"type": "ping"}
ONE = (("f", {"x": 1}),)
TWO = (*ONE, ("f", {"x": 2}))


def end(reason: str | None = "end_turn", **more: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": USAGE, **more}


def words(place: int = 0, text: str = "t") -> tuple[dict[str, Any], ...]:
    return block(place, {"type": "text", "text": ""}), added(place, "text_delta", text=text), closed(place)


def thought(place: int = 0) -> tuple[dict[str, Any], ...]:
    return (
        block(place, {"type": "thinking", "thinking": "", "signature": ""}),
        added(place, "thinking_delta", thinking="r"),
        closed(place),
    )


def used(place: int = 0, *pieces: Any, id: Any = "toolu_1", **more: Any) -> tuple[dict[str, Any], ...]:  # noqa: A002
    arguments = pieces or ('{"x":', "1}")
    return (block(place, {"type": "tool_use", "id": id, "name": "f", "input": {}, **more}),
            *(added(place, "input_json_delta", partial_json=piece) for piece in arguments), closed(place))  # fmt: skip


def stream(*events: dict[str, Any]) -> Reply:
    return sse(*named(*events))


def slowly(*events: dict[str, Any]) -> Reply:
    """Each event in a read of its own."""
    pieces: list[Any] = []
    for event in named(*events):
        pieces += (event, 0.01)
    return sse(*pieces)


def whole(*content: Any, reason: Any = "end_turn", **more: Any) -> Reply:
    return json_reply({**MESSAGE, "content": list(content), "stop_reason": reason, **more})


def call(id: Any = "toolu_1", **more: Any) -> dict[str, Any]:  # noqa: A002
    return {"type": "tool_use", "id": id, "name": "f", "input": {"x": 1}, **more}


TEXT = {"type": "text", "text": "t"}
LONG = '{"x":1,"y":"' + "z" * 40 + '"}'
RESENT = [LONG[:end] for end in (4, 12, 20, 30, len(LONG))]
LONG_CALL = (("f", {"x": 1, "y": "z" * 40}),)

ORDER = [
    Vector("tombii/better-ccflare#307 pings instead of the last event", sse(*named(START, *words(), end()), *[0.4, *named(PING)] * 20), "t"),
    Vector("Wei-Shaw/sub2api#4286 the end of another block", stream(START, *words()[:2], *thought(1)[:2], closed(0), *used(2)[:-1], closed(1), closed(2), end("tool_use"), STOP), "t", "r", ONE, "tool_calls"),
    Vector("HKUDS/nanobot#4473 one id for parallel calls", stream(START, *used(0, id="grep:3"), *used(1, '{"x":2}', id="grep:3"), end("tool_use"), STOP), calls=TWO, finish="tool_calls"),
    Vector("HKUDS/nanobot#4473 one id for parallel calls, whole", whole(call("grep:3"), call("grep:3", input={"x": 2}), reason="tool_use"), calls=TWO, finish="tool_calls"),
    Vector("a number for an id", stream(START, *used(id=7), end("tool_use"), STOP), calls=ONE, finish="tool_calls"),
    Vector("lidge-jun/opencodex#658 no id", stream(START, *used(id=None), end("tool_use"), STOP), calls=ONE, finish="tool_calls"),
    Vector("lidge-jun/opencodex#658 an object of nothing before the input, whole", whole(call(input='{}{"x":1}'), reason="tool_use"), calls=ONE, finish="tool_calls"),
    Vector("the arguments once more at the end", stream(START, *used(0, '{"x":', "1}", '{"x":1}'), end("tool_use"), STOP), calls=ONE, finish="tool_calls"),
    Vector("all of the arguments in each delta", stream(START, *used(0, *RESENT), end("tool_use"), STOP), calls=LONG_CALL, finish="tool_calls"),
    Vector("all of the arguments in each delta, slowly", slowly(START, *used(0, *RESENT), end("tool_use"), STOP), calls=LONG_CALL, finish="tool_calls"),
    Vector("the arguments once more, slowly", slowly(START, *used(0, *(LONG[at : at + 4] for at in range(0, len(LONG), 4)), LONG), end("tool_use"), STOP), calls=LONG_CALL, finish="tool_calls"),
    Vector("pieces that begin with a brace", slowly(START, *used(0, '{"x":', '{"y":', '{"x":', "1}", "}", "}"), end("tool_use"), STOP), calls=(("f", {"x": {"y": {"x": 1}}}),), finish="tool_calls"),
    Vector("a call after the resent one", slowly(START, *used(0, *RESENT), *used(1, '{"x":', "2}", id="toolu_2"), end("tool_use"), STOP), calls=(*LONG_CALL, TWO[1]), finish="tool_calls"),
    Vector("no usage at the end", stream(START, *words(), {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}}, STOP), "t"),
    Vector("two last events", stream(START, *words(), end(), STOP, STOP), "t"),
    Vector("a block after the last event", stream(START, *words(), end(), STOP, *words(1, "u")), "t"),
    Vector("pings everywhere", stream(PING, START, PING, words()[0], PING, words()[1], PING, words()[2], PING, end(), PING, STOP), "t"),
    Vector("blocks that begin at one", stream(START, *words(1), end(), STOP), "t"),
    Vector("a gap between blocks", stream(START, *words(0), *words(4, "u"), end(), STOP), "tu"),
    Vector("no ends of blocks", stream(START, *thought()[:2], *words(1)[:2], *used(2)[:-1], end("tool_use"), STOP), "t", "r", ONE, "tool_calls"),
    Vector("the reason before the end of the block", stream(START, *words()[:2], end(), closed(0), STOP), "t"),
    Vector("blocks after the reason", stream(START, *words(), end(), *words(1, "u"), STOP), "tu"),
    Vector("a call after the reason", stream(START, *words(), end(), *used(1), end("tool_use"), STOP), "t", "", ONE, "tool_calls"),
    Vector("no content in the start", stream({"type": "message_start", "message": {name: value for name, value in MESSAGE.items() if name != "content"}}, *words(), end(), STOP), "t"),
    Vector("null for the content in the start", stream({"type": "message_start", "message": {**MESSAGE, "content": None}}, *words(), end(), STOP), "t"),
    Vector("a delta without a type", stream(START, block(0, {"type": "text", "text": ""}), {"type": "content_block_delta", "index": 0, "delta": {"text": "t"}}, closed(0), end(), STOP), "t"),
    Vector("words of Chat for the end", stream(START, *words(), end("stop"), STOP), "t"),
    Vector("words of Chat for a call", stream(START, *used(), end("tool_calls"), STOP), calls=ONE, finish="tool_calls"),
    Vector("words of Chat for a limit", stream(START, *words(), end("length"), STOP), "t", finish="length"),
    Vector("words of Chat for the end, whole", whole(TEXT, reason="stop"), "t"),
    Vector("words of Chat for a call, whole", whole(call(), reason="tool_calls"), calls=ONE, finish="tool_calls"),
    Vector("words of Chat for a limit, whole", whole(TEXT, reason="length"), "t", finish="length"),
]  # fmt: skip

BEGUN = named(START, *words()[:2])
ERRORS = [
    Vector("an error of Chat in the middle", sse(*BEGUN, b'data: {"error":{"message":"boom","type":"server_error","code":null}}\n\n'), error="boom"),
    Vector("an error as it is in the middle", sse(*BEGUN, b'{"type":"error","error":{"type":"overloaded_error","message":"boom"}}'), error="boom"),
    Vector("an error as it is and a line", sse(*BEGUN, b'{"error":{"message":"boom"}}\n\n'), error="boom"),
    Vector("an error of several lines", sse(*BEGUN, b'{\n  "error": {\n    "message": "boom"\n  }\n}\n'), error="boom"),
    Vector("a page in the middle", sse(*BEGUN, b"<html><head><title>502 Bad Gateway</title></head>\n<body></body></html>\n"), error="502 Bad Gateway"),
    Vector("an event of Responses about a failure", sse(*BEGUN, *named({"type": "response.failed", "response": {"error": {"message": "boom", "code": "server_error"}}})), error="boom"),
    Vector("a text for an error", sse(*BEGUN, b'event: error\ndata: {"type":"error","error":"boom"}\n\n'), error="boom"),
    Vector("a message alone", sse(*BEGUN, b'event: error\ndata: {"type":"error","message":"boom"}\n\n'), error="boom"),
    Vector("an error that is no JSON", sse(*BEGUN, b"event: error\ndata: boom happened\n\n"), error="boom"),
    Vector("an error after the reason", sse(*named(START, *words(), end()), b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"late"}}\n\n'), "t"),
]  # fmt: skip


def bare(*names: str, **more: Any) -> dict[str, Any]:
    body = {**MESSAGE, "content": [TEXT], "stop_reason": "end_turn", **more}
    return {name: value for name, value in body.items() if name not in names}


WHOLE = [
    Vector("no counts", json_reply(bare("usage")), "t"),
    Vector("null for the counts", json_reply(bare(usage=None)), "t"),
    Vector("counts of Chat", json_reply(bare(usage={"prompt_tokens": 3, "completion_tokens": 2})), "t"),
    Vector("texts for the counts", json_reply(bare(usage={"input_tokens": "3", "output_tokens": "2"})), "t"),
    Vector("no type and no role", json_reply(bare("type", "role")), "t"),
    Vector("no id and no model", json_reply(bare("id", "model")), "t"),
    Vector("null for the id", json_reply(bare(id=None, model=None)), "t"),
    Vector("a number for the id", json_reply(bare(id=7)), "t"),
    Vector("no reason", json_reply(bare("stop_reason")), "t"),
    Vector("null for the reason", json_reply(bare(stop_reason=None)), "t"),
    Vector("an empty reason", json_reply(bare(stop_reason="")), "t"),
    Vector("a text for the content", json_reply(bare(content="t")), "t"),
    Vector("texts in the content", json_reply(bare(content=["t", "u"])), "tu"),
    Vector("an object for the content", json_reply(bare(content=TEXT)), "t"),
    Vector("a block without a kind", json_reply(bare(content=[{"text": "t"}])), "t"),
    Vector("null for a text", json_reply(bare(content=[{"type": "text", "text": None}, TEXT])), "t"),
    Vector("null in the content", json_reply(bare(content=[None, TEXT])), "t"),
    Vector("null for the input", whole(call(input=None), reason="tool_use"), calls=(("f", {}),), finish="tool_calls"),
    Vector("no input", whole({"type": "tool_use", "id": "toolu_1", "name": "f"}, reason="tool_use"), calls=(("f", {}),), finish="tool_calls"),
    Vector("an empty text for the input", whole(call(input=""), reason="tool_use"), calls=(("f", {}),), finish="tool_calls"),
    Vector("a list for the input", whole(call(input=[]), reason="tool_use"), calls=(("f", {}),), finish="tool_calls"),
    Vector("a number for an id, whole", whole(call(7), reason="tool_use"), calls=ONE, finish="tool_calls"),
    Vector("thinking without a signature", whole({"type": "thinking", "thinking": "r"}, TEXT), "t", "r"),
    Vector("null for a signature", whole({"type": "thinking", "thinking": "r", "signature": None}, TEXT), "t", "r"),
    Vector("thinking of nothing", whole({"type": "thinking", "thinking": None, "signature": ""}, TEXT), "t"),
    Vector("null for citations", whole({**TEXT, "citations": None}), "t"),
    Vector("an answer of Chat", json_reply({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": "t"}, "finish_reason": "stop"}]}), error="something other"),
    Vector("a failure of Chat", json_reply({"error": {"message": "boom", "type": "server_error"}}), error="boom"),
    Vector("a failure in `success`", json_reply({"success": False, "message": "boom", "code": 500}), error="boom"),
    Vector("jeremychone/rust-genai#258 no spaces after colons", sse(*(event.replace(b"event: ", b"event:").replace(b"data: ", b"data:") for event in named(START, *words(), end(), STOP))), "t"),
    Vector("QuantumNous/new-api#2881 counts of output alone at the end", stream(START, *words(), end(usage={"output_tokens": 2}), STOP), "t"),
    Vector("BerriAI/litellm#24845 metrics in the last event", stream(START, *words(), end(), {**STOP, "amazon-bedrock-invocationMetrics": {"inputTokenCount": 3}}), "t"),
    Vector("MiniMax-AI/MiniMax-M2#109 words and thinking in one block", stream(START, block(0, {"type": "thinking", "thinking": ""}), added(0, "thinking_delta", thinking="r"), added(0, "text_delta", text="t"), closed(0), end(), STOP), "t", "r"),
    Vector("a start with its words", stream(START, block(0, {"type": "text", "text": "t"}), added(0, "text_delta", text="u"), closed(0), end(), STOP), "tu"),
    Vector("a start with its thinking", stream(START, block(0, {"type": "thinking", "thinking": "r", "signature": "s"}), closed(0), *words(1), end(), STOP), "t", "r"),
    Vector("the reason beside the delta", stream(START, *words(), {"type": "message_delta", "stop_reason": "end_turn", "usage": USAGE}, STOP), "t"),
]  # fmt: skip


@pytest.mark.parametrize("vectors", [ORDER, ERRORS, WHOLE], ids=["order", "errors", "whole"])
def test_a_reply_is_read_as_its_server_meant_it(every: Client, upstream: FakeUpstream, vectors: list[Vector]) -> None:
    assert misread(every, upstream, "A", vectors) == {}
