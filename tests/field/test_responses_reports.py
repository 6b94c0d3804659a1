"""Replies of Responses servers as reports tell of them, for clients of every dialect, as streams and whole.

Each case names where it was reported: the repository and the number of the issue or the pull request.
"""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

from typing import Any

import pytest

from tests.field.vectors import Vector, misread
from tests.gateway.conftest import Client
from tests.support.answers import named
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, sse

USAGE = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
BODY = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": [], "error": None}
CREATED = {"type": "response.created", "response": {**BODY, "status": "in_progress"}}
ONE = (("f", {"x": 1}),)
TWO = (*ONE, ("f", {"x": 2}))


def said(kind: str, place: Any, **more: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "output_index": place, **more}


def completed(*output: Any, status: str = "completed", **more: Any) -> dict[str, Any]:
    return {
        "type": f"response.{status}",
        "response": {**BODY, "status": status, "output": list(output), "usage": USAGE, **more},
    }


def message(text: str = "t", id: str = "msg_1", **more: Any) -> dict[str, Any]:  # noqa: A002
    return {
        "type": "message",
        "id": id,
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
        **more,
    }


def call(arguments: Any = '{"x":1}', number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "type": "function_call",
        "id": f"fc_{number}",
        "call_id": f"c{number}",
        "name": "f",
        "arguments": arguments,
        "status": "completed",
        **more,
    }


def thought(text: str = "r", id: str = "rs_1") -> dict[str, Any]:  # noqa: A002
    return {"type": "reasoning", "id": id, "summary": [{"type": "summary_text", "text": text}]}


def begun(item: dict[str, Any]) -> dict[str, Any]:
    empty = {"message": {"content": []}, "reasoning": {"summary": []}, "function_call": {"arguments": ""}}[item["type"]]
    return {**item, **empty, "status": "in_progress"}


def added(item: dict[str, Any], place: Any = 0) -> dict[str, Any]:
    return said("output_item.added", place, item=begun(item))


def done(item: dict[str, Any], place: Any = 0) -> dict[str, Any]:
    return said("output_item.done", place, item=item)


def part(kind: str, place: Any = 0, text: str = "", id: str = "msg_1") -> dict[str, Any]:  # noqa: A002
    return said(
        f"content_part.{kind}",
        place,
        item_id=id,
        content_index=0,
        part={"type": "output_text", "text": text, "annotations": []},
    )


def delta(text: str = "t", place: Any = 0, id: str = "msg_1") -> dict[str, Any]:  # noqa: A002
    return said("output_text.delta", place, item_id=id, content_index=0, delta=text)


def arguments(text: Any = '{"x":1}', place: Any = 0, id: str = "fc_1", kind: str = "delta") -> dict[str, Any]:  # noqa: A002
    return said(
        f"function_call_arguments.{kind}", place, item_id=id, **{"delta" if kind == "delta" else "arguments": text}
    )


def told(text: str = "t", place: Any = 0, id: str = "msg_1") -> dict[str, Any]:  # noqa: A002
    return said("output_text.done", place, item_id=id, content_index=0, text=text)


def spoken(text: str = "t", place: Any = 0, id: str = "msg_1") -> tuple[dict[str, Any], ...]:  # noqa: A002
    return (added(message(text, id), place), part("added", place, id=id), delta(text, place, id), told(text, place, id),
            part("done", place, text, id), done(message(text, id), place))  # fmt: skip


def called(number: int = 1, place: Any = 0) -> tuple[dict[str, Any], ...]:
    item = call(f'{{"x":{number}}}', number)
    return (
        added(item, place),
        arguments(item["arguments"], place, item["id"]),
        arguments(item["arguments"], place, item["id"], "done"),
        done(item, place),
    )


def stream(*events: dict[str, Any], number: bool = True) -> Reply:
    numbered = [{**event, "sequence_number": place} if number else event for place, event in enumerate(events)]
    return sse(*named(*numbered))


def whole(*output: Any, **more: Any) -> Reply:
    return json_reply({**BODY, "status": "completed", "output": list(output), "usage": USAGE, **more})


def without(name: str, *events: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    return tuple({field: value for field, value in event.items() if field != name} for event in events)


ORDER = [
    Vector("Sophomoresty/gemini-web2api#57 a text at its end alone", stream(CREATED, told(), completed(message())), "t"),
    Vector("Sophomoresty/gemini-web2api#57 a text at its end alone, and no output", stream(CREATED, told(), completed()), "t"),
    Vector("a text at the end of its announced item", stream(CREATED, added(message()), done(message()), completed(message())), "t"),
    Vector("a text in the end of its part", stream(CREATED, added(message()), part("added"), told(), part("done", text="t"), done(message()), completed(message())), "t"),
    Vector("a text in the end of its part, and no end of the item", stream(CREATED, added(message()), told(), completed(message())), "t"),
    Vector("a text in the last event alone", stream(CREATED, completed(message())), "t"),
    Vector("ogx-ai/ogx#5309 no end of the text", stream(CREATED, added(message()), part("added"), delta(), part("done", text="t"), done(message()), completed(message())), "t"),
    Vector("no end of the item, and no output", stream(CREATED, added(message()), part("added"), delta(), completed()), "t", but=("R",)),
    Vector("no end of the item", stream(CREATED, added(message()), part("added"), delta(), completed(message())), "t"),
    Vector("diegosouzapw/OmniRoute#13964 no numbers", stream(CREATED, *spoken(), completed(message()), number=False), "t"),
    Vector("diegosouzapw/OmniRoute#13964 no numbers, and a call", stream(CREATED, *spoken(), *called(1, 1), completed(message(), call()), number=False), "t", "", ONE, "tool_calls"),
    Vector("openai/openai-python#3321 null for the output", stream(CREATED, *spoken(), {"type": "response.completed", "response": {**BODY, "status": "completed", "output": None, "usage": USAGE}}), "t"),
    Vector("no response in the first event", stream(*spoken(), completed(message())), "t"),
    Vector("two items of one index", stream(CREATED, *spoken(), *called(1, 0), completed(message(), call())), "t", "", ONE, "tool_calls"),
    Vector("three items of one index", stream(CREATED, *spoken(), *called(1, 0), *called(2, 0), completed(message(), call(), call('{"x":2}', 2))), "t", "", TWO, "tool_calls"),
    Vector("no index", stream(CREATED, *without("output_index", *spoken(), *called(1, 1)), completed(message(), call())), "t", "", ONE, "tool_calls"),
    Vector("indices that begin at one", stream(CREATED, *spoken(place=1), completed(message())), "t"),
    Vector("the start of an item twice", stream(CREATED, added(message()), *spoken(), completed(message())), "t"),
    Vector("the end of an item twice", stream(CREATED, *spoken(), done(message()), completed(message())), "t"),
    Vector("an end without a start", stream(CREATED, done(message()), *called(1, 1), completed(message(), call())), "t", "", ONE, "tool_calls"),
    Vector("the response twice", stream(CREATED, CREATED, *spoken(), completed(message())), "t"),
    Vector("a call that begins with an object of nothing", stream(CREATED, added(call()), arguments("{}"), arguments(), arguments(kind="done"), done(call()), completed(call())), calls=ONE, finish="tool_calls"),
    Vector("a call at its end alone", stream(CREATED, added(call()), done(call()), completed(call())), calls=ONE, finish="tool_calls"),
    Vector("a call without a start", stream(CREATED, done(call()), completed(call())), calls=ONE, finish="tool_calls"),
    Vector("other ids in the last event", stream(CREATED, *spoken(), *called(1, 1), completed(message(id="msg_9"), call(id="fc_9"))), "t", "", ONE, "tool_calls"),
    Vector("no id in the end of an item", stream(CREATED, *spoken()[:-1], done(message(id=None)), completed(message())), "t"),  # type: ignore[arg-type]
    Vector("two last events", stream(CREATED, *spoken(), completed(message()), completed(message())), "t"),
    Vector("events after the last", stream(CREATED, *spoken(), completed(message()), *spoken("u", 1, "msg_2")), "t"),
    Vector("a status that does not fit", stream(CREATED, *spoken(), {"type": "response.completed", "response": {**BODY, "status": "in_progress", "output": [message()], "usage": USAGE}}), "t"),
    Vector("no status at the end", stream(CREATED, *spoken(), {"type": "response.completed", "response": {**BODY, "output": [message()], "usage": USAGE}}), "t"),
]  # fmt: skip

BEGUN = named(*({**event, "sequence_number": place} for place, event in enumerate((CREATED, *spoken()[:3]))))
ERRORS = [
    Vector("an error of Chat in the middle", sse(*BEGUN, b'data: {"error":{"message":"boom","type":"server_error","code":null}}\n\n'), error="boom"),
    Vector("an error of Messages in the middle", sse(*BEGUN, b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"boom"}}\n\n'), error="boom"),
    Vector("an error as it is in the middle", sse(*BEGUN, b'{"error":{"message":"boom"}}'), error="boom"),
    Vector("an error of Messages as it is", sse(*BEGUN, b'{"type":"error","error":{"type":"api_error","message":"boom"}}\n\n'), error="boom"),
    Vector("a page in the middle", sse(*BEGUN, b"<html><head><title>502 Bad Gateway</title></head>\n<body></body></html>\n"), error="502 Bad Gateway"),
    Vector("a text for an error", sse(*BEGUN, b'event: error\ndata: {"type":"error","error":"boom"}\n\n'), error="boom"),
    Vector("an error that is no JSON", sse(*BEGUN, b"event: error\ndata: boom happened\n\n"), error="boom"),
    Vector("a failure without an error", sse(*BEGUN, *named({"type": "response.failed", "sequence_number": 4, "response": {**BODY, "status": "failed"}})), error="failed"),
    Vector("a failure within a completed response", sse(*BEGUN, *named({"type": "response.completed", "sequence_number": 4, "response": {**BODY, "status": "failed", "error": {"code": "server_error", "message": "boom"}}})), error="boom"),
]  # fmt: skip


WHOLE = [
    Vector("no status", json_reply({**BODY, "output": [message()], "usage": USAGE}), "t"),
    Vector("null for the status", whole(message(), status=None), "t"),
    Vector("no object", json_reply({"id": "resp_1", "model": "m", "status": "completed", "output": [message()], "usage": USAGE}), "t"),
    Vector("a text for the content", whole({**message(), "content": "t"}), "t"),
    Vector("a part of Chat", whole({**message(), "content": [{"type": "text", "text": "t"}]}), "t"),
    Vector("a part without a kind", whole({**message(), "content": [{"text": "t"}]}), "t"),
    Vector("no role and no id", whole({"type": "message", "status": "completed", "content": [{"type": "output_text", "text": "t"}]}), "t"),
    Vector("an item without a kind", whole({"role": "assistant", "content": [{"type": "output_text", "text": "t"}]}), "t", but=("R",)),
    Vector("arguments as an object", whole(call({"x": 1})), calls=ONE, finish="tool_calls"),
    Vector("two documents of arguments", whole(call('{}{"x":1}')), calls=ONE, finish="tool_calls"),
    Vector("no call_id", whole({name: value for name, value in call().items() if name != "call_id"}), calls=ONE, finish="tool_calls"),
    Vector("an empty call_id", whole(call(call_id="")), calls=ONE, finish="tool_calls"),
    Vector("thinking without a summary", whole({"type": "reasoning", "id": "rs_1", "content": [{"type": "reasoning_text", "text": "r"}]}, message()), "t", "r", but=("R",)),
    Vector("null for the summary", whole({"type": "reasoning", "id": "rs_1", "summary": None, "content": None}, message()), "t", but=("R",)),
    Vector("counts of Chat", whole(message(), usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}), "t"),
    Vector("counts as a list", whole(message(), usage=[]), "t"),
    Vector("the time as a text", whole(message(), created_at="1760000000"), "t"),
    Vector("the time as a fraction", whole(message(), created_at=1760000000.5), "t"),
    Vector("a limit without details", json_reply({**BODY, "status": "incomplete", "output": [message()], "usage": USAGE}), "t", finish="length", but=("R",)),
    Vector("an error beside the output", whole(message(), error={}), "t"),
    Vector("a failure with a text for an error", json_reply({**BODY, "status": "failed", "error": "boom", "output": []}), error="boom"),
    Vector("a failure without an error", json_reply({**BODY, "status": "failed", "output": []}), error="failed", but=("R",)),
    Vector("an answer of Chat", json_reply({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": "t"}, "finish_reason": "stop"}]}), error="something other"),
]  # fmt: skip


@pytest.mark.parametrize("vectors", [ORDER, ERRORS, WHOLE], ids=["order", "errors", "whole"])
def test_a_reply_is_read_as_its_server_meant_it(every: Client, upstream: FakeUpstream, vectors: list[Vector]) -> None:
    assert misread(every, upstream, "R", vectors) == {}
